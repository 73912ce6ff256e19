package app

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// answer runs a command line and returns its status and everything that it prints.
func answer(args ...string) (status int, said string) {
	var out bytes.Buffer
	status = Main(args, Console{In: strings.NewReader(""), Out: &out, Err: &out})
	return status, out.String()
}

func TestCommandLine_wrongOneIsRefusedWithASuggestion(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"versoin":                             `unexpected argument versoin, did you mean "version"?`, //nolint:misspell // on purpose
		"stock lst":                           `unexpected argument lst, did you mean "list"?`,
		"--lisen :1":                          `unknown flag --lisen, did you mean "--listen"?`,
		"serve stock":                         "unexpected argument stock",
		"checkouts list --state Open":         "--state must be one of",
		"checkouts list --limit=-1":           `--limit: expected a valid 64 bit uint but got "-1"`,
		"checkouts prune --older-than 29d":    "--older-than: expected at least 30d",
		"checkouts prune --older-than never":  `--older-than: expected an age such as 12h or 90d, got "never"`,
		"events replay":                       "missing flags: --since=AGE",
		"serve --trusted-proxies 10.0.0.0/33": `--trusted-proxies: expected addresses and networks such as 10.0.0.0/8, got "10.0.0.0/33"`,
		"stock list --low 5":                  "unknown flag --low",
		"completion tcsh":                     `must be one of "bash","zsh","fish"`,
	} {
		status, said := answer(strings.Fields(line)...)
		if status != 2 || !strings.Contains(strings.ReplaceAll(said, `\"`, `"`), want) {
			t.Errorf("%s: status %d: %s, want %q", line, status, said, want)
		}
	}
}

func TestCommandLine_wrongSettingOfTheServerIsLoggedAsJSON(t *testing.T) {
	t.Parallel()
	_, said := answer("--batch-size", "0")
	var line struct{ Level, Error string }
	if err := json.Unmarshal([]byte(said), &line); err != nil || line.Level != "ERROR" || !strings.Contains(line.Error, "--batch-size (BATCH_SIZE) is 0") {
		t.Errorf("%s, %v", said, err)
	}
}

func TestCommandLine_versionHasTwoFlags(t *testing.T) {
	t.Parallel()
	_, want := answer("version")
	for _, line := range []string{"-v", "--version", "stock list --version"} {
		if status, said := answer(strings.Fields(line)...); status != 0 || said != want || !strings.HasPrefix(said, "cartwheel ") {
			t.Errorf("%s: status %d: %s, want %q", line, status, said, want)
		}
	}
}

func TestCommandLine_servesWithoutACommand(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"":                   "serve",
		"--demo --listen :1": "serve --demo --listen :1",
		"--help":             "--help",
		"-v":                 "-v",
		"help":               "--help",
		"help stock import":  "stock import --help",
		"stock list":         "stock list",
	} {
		if diff := cmp.Diff(strings.Fields(want), explicit(strings.Fields(line))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", line, diff)
		}
	}
}

func TestCompletion_offersWhatMayFollow(t *testing.T) {
	t.Parallel()
	_, script := answer("completion", "bash")
	for line, want := range map[string]string{
		"ver":                        "version",
		"stock ":                     "import list --help --version",
		"stock import file.csv --de": "--delimiter",
		"completion ":                "bash zsh fish --help --version",
		"stock list import ":         "--help --version --mysql-dsn --mysql-read-dsn --data-dir --json",
	} {
		words := append([]string{"cartwheel"}, strings.Split(line, " ")...)
		command := exec.CommandContext(t.Context(), "bash", append([]string{"-c", script +
			`COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _cartwheel; echo "${COMPREPLY[*]}"`, "bash"}, words...)...)
		if got, err := command.CombinedOutput(); err != nil || string(got) != want+"\n" {
			t.Errorf("%q: got %s, error %v, want %s", line, got, err, want)
		}
	}
	for shell, want := range map[string]string{"zsh": "bashcompinit", "fish": "complete -c cartwheel"} {
		if status, said := answer("completion", shell); status != 0 || !strings.Contains(said, want) {
			t.Errorf("%s: status %d: %s", shell, status, said)
		}
	}
}
