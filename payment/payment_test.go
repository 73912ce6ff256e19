package payment

import (
	"strings"
	"testing"
)

func TestOpen_choosesTheGatewayByURL(t *testing.T) {
	t.Parallel()
	for rawURL, want := range map[string]string{
		"sandbox:":                                "sandbox:",
		"sandbox:?":                               "sandbox:",
		"sandbox:?latency=2s&decline=0.1":         "sandbox:?latency=2s&decline=0.1",
		"sandbox:?decline=1":                      "sandbox:?decline=1",
		"SANDBOX:?latency=0s":                     "sandbox:?latency=0s",
		"http://shop.example:8080/pay/":           "http://shop.example:8080/pay",
		"https://shop.example":                    "https://shop.example",
		"https://user:hunter2@shop.example/b%2Fc": "https://shop.example/b%2Fc",
		"http://[::1]:5005/":                      "http://[::1]:5005",
	} {
		gateway, err := Open(rawURL, Options{})
		if err != nil {
			t.Errorf("Open(%q): %v", rawURL, err)
			continue
		}
		if got := gateway.String(); got != want {
			t.Errorf("Open(%q) is %q, want %q", rawURL, got, want)
		}
		if err := gateway.Available(); err != nil {
			t.Errorf("Open(%q).Available: %v", rawURL, err)
		}
		gateway.Close()
		gateway.Close()
	}
}

func TestOpen_errorNamesThePartOfTheURL(t *testing.T) {
	t.Parallel()
	tests := []struct {
		rawURL string
		want   []string
	}{
		{"", []string{"sandbox:", "http://host/base"}},
		{"sandbox", []string{"neither scheme", "sandbox:"}},
		{"stripe://x", []string{"neither scheme", "expected"}},
		{"user:hunter2@host/base", []string{"neither scheme", "expected"}},
		{"sandbox:latency=2s", []string{"expected sandbox:"}},
		{"sandbox://host", []string{"expected sandbox:"}},
		{"sandbox:?latncy=2s", []string{`unknown parameter "latncy"`, "latency or decline"}},
		{"sandbox:?latency=2", []string{`latency is "2"`, "duration"}},
		{"sandbox:?latency=-2s", []string{`latency is "-2s"`, "0 or more"}},
		{"sandbox:?latency=1s&latency=2s", []string{`"latency" is given 2 times`}},
		{"sandbox:?decline=1.1", []string{`decline is "1.1"`, "from 0 to 1"}},
		{"sandbox:?decline=-0.1", []string{`decline is "-0.1"`, "from 0 to 1"}},
		{"sandbox:?decline=NaN", []string{`decline is "NaN"`, "from 0 to 1"}},
		{"sandbox:?decline=", []string{`decline is ""`, "from 0 to 1"}},
		{"sandbox:?a=%zz", []string{"expected sandbox:"}},
		{"http:", []string{"no host", "http://host/base"}},
		{"http:///base", []string{"no host"}},
		{"http://:5005/", []string{"no host"}},
		{"http:host/base", []string{"no host"}},
		{"http://host:0/", []string{"port 0", "1 to 65535"}},
		{"http://host:99999/", []string{"port 99999", "1 to 65535"}},
		{"http://user:hunter2@host/base?x=1", []string{`"host" has a query`}},
		{"http://host/base?", []string{"has a query"}},
		{"http://host/base#x", []string{"has a query or a fragment"}},
		{"http://host/a/../b", []string{`".."`}},
		{"http://user:hunter2@host:port/", []string{"cannot be read", "expected"}},
		{"http://user:hunter2@ho st/", []string{"cannot be read"}},
	}
	for _, test := range tests {
		_, err := Open(test.rawURL, Options{})
		if err == nil {
			t.Errorf("Open(%q) succeeded", test.rawURL)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Open(%q) tells the password: %v", test.rawURL, err)
		}
		for _, want := range append(test.want, "payment URL") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("Open(%q): %v; want it to say %q", test.rawURL, err, want)
			}
		}
	}
}
