package app

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cartwheel/app/commands"
)

// secretFile returns a file with the text, as an editor writes it.
func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSecretFiles_setTheirVariables(t *testing.T) { //nolint:paralleltest // it sets the environment
	names := []string{"MYSQL_DSN", "MYSQL_READ_DSN", "PAYMENT_URL", "PAYMENT_SECRET", "WEBHOOK_URL", "WEBHOOK_SECRET", "API_KEYS", "ADMIN_TOKEN"}
	for _, name := range names {
		t.Setenv(name, "")
		t.Setenv(name+"_FILE", secretFile(t, "the value of "+name))
	}
	if err := readSecretFiles(); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if got, want := os.Getenv(name), "the value of "+name; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestSecretFiles_errorNamesTheVariableAndNoSecret(t *testing.T) {
	for name, test := range map[string]struct{ file, value, want string }{
		"both":      {secretFile(t, "whsec_p4ss"), "whsec_p4ss", "WEBHOOK_SECRET and WEBHOOK_SECRET_FILE are both set"},
		"no file":   {filepath.Join(t.TempDir(), "none"), "", "WEBHOOK_SECRET_FILE: open"},
		"malformed": {secretFile(t, "whsec_p4ss"), "", "--webhook-secret (WEBHOOK_SECRET): expected whsec_ and 24 to 64 bytes in base64"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("WEBHOOK_SECRET", test.value)
			t.Setenv("WEBHOOK_SECRET_FILE", test.file)
			var said bytes.Buffer
			status := Main([]string{"serve", "--webhook-url", "https://shop.example/events"}, commands.Console{Out: &said, Err: &said})
			if status != 2 || !strings.Contains(said.String(), test.want) || strings.Contains(said.String(), "p4ss") {
				t.Errorf("status %d: %s\nwant 2 and %s", status, &said, test.want)
			}
		})
	}
}

func TestSecretFiles_emptyFileIsRefused(t *testing.T) {
	t.Setenv("ADMIN_TOKEN", "")
	t.Setenv("ADMIN_TOKEN_FILE", secretFile(t, " "))
	if err := readSecretFiles(); err == nil || !strings.Contains(err.Error(), "is empty: expected the secret") {
		t.Errorf("got %v, want an error that says that the file is empty", err)
	}
}
