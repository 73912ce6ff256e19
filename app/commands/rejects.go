package commands

import (
	"errors"
	"io"
	"os"
	"strings"

	"cartwheel/inventory"
)

// A rejectWriter writes the bad rows as they stand in their file, and behind each the reason. The
// import reads such a file too, without the reasons.
type rejectWriter struct {
	to        io.Writer
	delimiter string
	begun     bool // it has its header
}

func (r *rejectWriter) add(bad inventory.BadRow) error {
	if bad.Text == "" { // the rest of a file behind an unclosed quote is no row
		return nil
	}
	reason := `"` + strings.ReplaceAll(printable(bad.Reason), `"`, `""`) + `"`
	line := bad.Text + r.delimiter + reason + "\n"
	if !r.begun {
		r.begun = true
		line = bad.Header + r.delimiter + inventory.ReasonColumn + "\n" + line
	}
	_, err := io.WriteString(r.to, line)
	return err
}

// A rejectFile keeps the rows of an earlier run until the first bad row.
type rejectFile struct {
	file  *os.File // nil: none
	begun bool
}

// openRejects opens the file. An empty path is no file.
func openRejects(path string) (*rejectFile, error) {
	if path == "" {
		return &rejectFile{}, nil
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	return &rejectFile{file: file}, err
}

func (r *rejectFile) Write(text []byte) (int, error) {
	if r.file == nil {
		return len(text), nil
	}
	if !r.begun {
		r.begun = true
		_ = r.file.Truncate(0) // a pipe has no size
	}
	return r.file.Write(text)
}

// close removes the file if it is empty, and that of an earlier run after a clean import.
func (r *rejectFile) close(clean bool) error {
	if r.file == nil {
		return nil
	}
	info, err := os.Lstat(r.file.Name())
	if err := errors.Join(err, r.file.Close()); err != nil {
		return err
	}
	if info.Mode().IsRegular() && (clean || info.Size() == 0) {
		return os.Remove(r.file.Name())
	}
	return nil
}
