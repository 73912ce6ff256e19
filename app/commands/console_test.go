package commands

import (
	"bytes"
	"testing"
)

func TestPrintable_escapesWhatHasNoShapeOfItsOwn(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Müesli ×2 ☕":  "Müesli ×2 ☕",
		"mug\u202egum": `mug\u202egum`, // reverses what follows
		"a\x1b[2Jb":    `a\u001b[2Jb`,
		"a\u200bb\n":   `a\u200bb\u000a`,
		"a\u2028b":     `a\u2028b`,
	} {
		if got := printable(text); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

func TestListing_alignsNumbersToTheRight(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := newListing(&out, false, "PRODUCT", "ON HAND", "NOTE")
	for _, n := range []int64{7, 12345678} {
		if err := l.add(nil, "täa\u202e", n, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.end(nil); err != nil {
		t.Fatal(err)
	}
	want := "PRODUCT     ON HAND  NOTE\n" +
		"täa\\u202e         7\n" +
		"täa\\u202e  12345678\n"
	if out.String() != want {
		t.Errorf("got:\n%swant:\n%s", &out, want)
	}
}
