package e2e

import (
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// scrape returns the values of all series, by name and labels.
func (i *instance) scrape() map[string]float64 {
	i.t.Helper()
	answer, err := http.Get(i.dashboard() + "metrics")
	if err != nil {
		i.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		i.t.Fatal(err)
	}
	values := map[string]float64{}
	for _, line := range regexp.MustCompile(`(?m)^([a-z][^ ]*) (\S+)$`).FindAllStringSubmatch(string(text), -1) {
		if values[line[1]], err = strconv.ParseFloat(line[2], 64); err != nil {
			i.t.Fatalf("%s: %v", line[0], err)
		}
	}
	return values
}

func TestMetrics_countRequests(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		shop := start(t, s, "--admin-listen", "127.0.0.1:0")
		s.stock(t, map[string]int{"lamp": 100})
		for n := range 5 {
			shop.want(t, 200, addition("ann"+itoa(n), "lamp", 1))
			shop.want(t, 200, purchase("ann"+itoa(n)))
		}
		shop.want(t, 404, addition("ann", "no such product", 1))
		shop.want(t, 409, addition("ann", "lamp", 101))
		shop.want(t, 200, addition("decline-bob", "lamp", 1))
		shop.want(t, 402, purchase("decline-bob"))

		// A batch is counted, and a checkout is over, a moment after its last job was answered.
		var series map[string]float64
		eventually(t, soon, "the last batch is counted", func() bool {
			series = shop.scrape()
			return series[`cartwheel_queue_batch_jobs_sum{queue="checkout.settle"}`] >= 6 && series[`cartwheel_checkouts_in_flight`] == 0 &&
				series[`cartwheel_payment_calls_in_flight{call="charge"}`] == 0 && series[`cartwheel_queue_batch_jobs_sum{queue="cart.add"}`] >= 8
		})
		for name, want := range map[string]float64{
			`cartwheel_http_request_duration_seconds_count{code="200",route="/addToCart"}`:    6,
			`cartwheel_http_request_duration_seconds_count{code="404",route="/addToCart"}`:    1,
			`cartwheel_http_request_duration_seconds_count{code="409",route="/addToCart"}`:    1,
			`cartwheel_http_request_duration_seconds_count{code="200",route="/checkOutCart"}`: 5,
			`cartwheel_http_request_duration_seconds_count{code="402",route="/checkOutCart"}`: 1,
			`cartwheel_payment_call_duration_seconds_count{call="charge",outcome="approved"}`: 5,
			`cartwheel_payment_call_duration_seconds_count{call="charge",outcome="declined"}`: 1,
			`cartwheel_payment_calls_in_flight{call="charge"}`:                                0,
			`cartwheel_queue_batch_jobs_sum{queue="cart.add"}`:                                8,
			`cartwheel_queue_batch_jobs_sum{queue="checkout.reserve"}`:                        6,
			`cartwheel_queue_batch_jobs_sum{queue="checkout.settle"}`:                         6,
			`cartwheel_queue_capacity_jobs{queue="cart.add"}`:                                 4096,
			`cartwheel_payment_sandbox`:                                                       1, // without --demo
			`cartwheel_checkouts_in_flight`:                                                   0,
			`cartwheel_audit_inconsistencies`:                                                 0,
			`cartwheel_payment_breaker_state{state="closed"}`:                                 1,
			`cartwheel_transaction_duration_seconds_count{end="unavailable"}`:                 0,
		} {
			if got, found := series[name]; !found || got != want {
				t.Errorf("%s is %v (there: %v), want %v", name, got, found, want)
			}
		}
		// Six adds, six reserves and six settles; the embedded engine has some of its own at the
		// start.
		if got := series[`cartwheel_transaction_duration_seconds_count{end="committed"}`]; got < 18 {
			t.Errorf("%v committed transactions, want 18 or more", got)
		}
		if series["cartwheel_http_connections"] < 1 || series[`go_sql_max_open_connections{db_name="cartwheel"}`] < 1 || series["process_open_fds"] < 1 {
			t.Error("connections, the pool or the process are not told of")
		}
	})
}

func TestAdminListener_offOrPortInUse(t *testing.T) {
	t.Parallel()
	first := start(t, embeddedStore(t), "--admin-listen", "127.0.0.1:0")
	address := strings.TrimSuffix(strings.TrimPrefix(first.dashboard(), "http://"), "/")

	taken := launch(t, embeddedStore(t), "--admin-listen", address)
	if status := taken.exit(startTimeout); status != 1 {
		t.Errorf("exit status %d with a taken port, want 1", status)
	}
	if !containsAll(taken.log.String(), "--admin-listen", address, "choose another port") {
		t.Errorf("the error does not say what to do: %s", taken.log)
	}

	off := start(t, embeddedStore(t), "--admin-listen", "")
	if got := off.log.attribute("listening", "dashboard"); got != "" {
		t.Errorf("the dashboard is off, and said to be at %s", got)
	}
}
