package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cartwheel/database/databasetest"
)

// The server imports: the command's process never opens the database. A killed command ends there.
func TestImport_runsInTheServer(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	start(t, s)
	for i := range 6 { // more than run at once
		command := exec.Command(binary, append([]string{"stock", "import", "-"}, s.flags...)...)
		command.Env = cleanEnvironment()
		input, err := command.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		var rows strings.Builder
		for n := range 3000 {
			fmt.Fprintf(&rows, "p%d-%d,,1\n", i, n)
		}
		if _, err := io.WriteString(input, "product_id,product_name,quantity\n"+rows.String()); err != nil {
			t.Fatal(err)
		}
		databasetest.Eventually(t, 20*time.Second, "the first rows are imported", func() bool {
			out, _, _ := run(t, s, nil, "stock", "list")
			return strings.Contains(out, fmt.Sprintf("p%d-0 ", i))
		})
		open := filepath.Join("/proc", itoa(command.Process.Pid), "fd")
		entries, err := os.ReadDir(open)
		if err != nil || len(entries) < 3 {
			t.Fatalf("%d open files, error %v", len(entries), err)
		}
		for _, entry := range entries {
			if name, _ := os.Readlink(filepath.Join(open, entry.Name())); strings.Contains(name, "cartwheel.db") {
				t.Errorf("the command has %s open", name)
			}
		}
		if err := command.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = command.Wait()
	}
	s.stock(t, map[string]int{"mug": 7})
}
