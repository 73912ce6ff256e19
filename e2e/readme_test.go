package e2e

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

func TestReadme_commandsWork(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	shop := start(t, embeddedStore(t), "--demo")
	host := strings.TrimPrefix(shop.base, "http://")
	blocks := regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	commands := 0
	for _, block := range blocks {
		for _, example := range strings.Split(block[1], "$ ")[1:] {
			command, want, _ := strings.Cut(example, "\n")
			got, err := exec.Command("sh", "-c", strings.ReplaceAll(command, "localhost:5003", host)).CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v: %s", command, err, got)
			}
			if string(got) != want {
				t.Errorf("%s\ngot:  %swant: %s", command, got, want)
			}
			commands++
		}
	}
	if commands < 6 {
		t.Errorf("the README has %d commands with answers, want those of the quick start", commands)
	}
}
