package commands

import (
	"bufio"
	"errors"
	"os"
	"strings"

	"cartwheel/inventory"
)

// A rejectFile receives the bad rows as they stand in their file, and behind each the reason. The
// import reads such a file too, without the reasons. It is created with the first row.
type rejectFile struct {
	path      string // empty: none
	delimiter string
	file      *os.File
	out       *bufio.Writer
}

// try sees whether the file can be written, which shows before anything is imported then. It leaves
// no trace.
func (r *rejectFile) try() error {
	if r.path == "" {
		return nil
	}
	_, missing := os.Lstat(r.path)
	file, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil || missing == nil {
		return err
	}
	return os.Remove(r.path)
}

func (r *rejectFile) add(bad inventory.BadRow) (err error) {
	if r.path == "" || bad.Text == "" { // the rest of a file behind an unclosed quote is no row
		return nil
	}
	reason := `"` + strings.ReplaceAll(printable(bad.Reason), `"`, `""`) + `"`
	line := bad.Text + r.delimiter + reason + "\n"
	if r.file == nil {
		if r.file, err = os.Create(r.path); err != nil {
			return err
		}
		r.out = bufio.NewWriter(r.file)
		line = bad.Header + r.delimiter + inventory.ReasonColumn + "\n" + line
	}
	_, err = r.out.WriteString(line)
	return err
}

// removeOld removes the file of an earlier run.
func (r *rejectFile) removeOld() error {
	if info, err := os.Lstat(r.path); err != nil || !info.Mode().IsRegular() {
		return nil //nolint:nilerr // there is none
	}
	return os.Remove(r.path)
}

func (r *rejectFile) close() error {
	if r.file == nil {
		return nil
	}
	return errors.Join(r.out.Flush(), r.file.Close())
}
