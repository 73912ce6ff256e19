package app

import (
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"cartwheel/database/databasetest"
)

func TestAlerts_unitTestsPass(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		databasetest.SkipUnlessCI(t, "there is no promtool: make test installs it")
	}
	for _, args := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}} {
		command := exec.CommandContext(t.Context(), promtool, args...)
		command.Dir = "../deploy"
		if said, err := command.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, said)
		}
	}
}

// Each alert has a unit test in which it alone fires, and one in which none does.
func TestAlerts_eachHasUnitTestsOfFiringAndSilence(t *testing.T) {
	t.Parallel()
	var rules struct {
		Groups []struct{ Rules []struct{ Alert string } }
	}
	var units struct {
		Tests []struct {
			Name        string
			Expressions []struct {
				Expr    string
				Samples []struct{ Labels string } `yaml:"exp_samples"`
			} `yaml:"promql_expr_test"`
		}
	}
	for file, into := range map[string]any{"alerts.yaml": &rules, "alerts_test.yaml": &units} {
		text, err := os.ReadFile("../deploy/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, into); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	tested := map[string]int{}
	for _, unit := range units.Tests {
		alert, what, _ := strings.Cut(unit.Name, " ")
		kind, _, _ := strings.Cut(what, " ")
		for _, e := range unit.Expressions {
			if e.Expr != `count by (alertname) (ALERTS{alertstate="firing"})` {
				t.Errorf("%s does not look at the alerts that fire", unit.Name)
			}
			alone := len(e.Samples) == 1 && e.Samples[0].Labels == `{alertname="`+alert+`"}`
			if kind == "fires" && !alone || kind == "is" && len(e.Samples) > 0 {
				t.Errorf("%s: it expects %v", unit.Name, e.Samples)
			}
			tested[alert+" "+kind]++
		}
	}
	want := map[string]bool{}
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			want[rule.Alert+" fires"], want[rule.Alert+" is"] = true, true
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(tested))); diff != "" {
		t.Errorf("kinds of unit tests (-want +got):\n%s", diff)
	}
}
