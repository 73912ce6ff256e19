package main

import (
	"os"
	"strings"
	"testing"
)

func TestMutations_areListedInTheDocument(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for line := range strings.Lines(string(content)) {
		if strings.HasPrefix(line, "| ") {
			rows = append(rows, line)
		}
	}
	for _, m := range mutations() {
		if row := rowOf(rows, m.name); row == "" {
			t.Errorf("docs/reliability.md has no row for the mutation %q", m.name)
		} else if !strings.Contains(row, m.in+": ") || !containsEach(row, m.tests) {
			t.Errorf("docs/reliability.md does not name the tests of the mutation %q: %s", m.name, row)
		}
	}
}

func rowOf(rows []string, guard string) string {
	for _, row := range rows {
		if strings.HasPrefix(row, "| "+guard+" |") {
			return row
		}
	}
	return ""
}

func containsEach(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}
