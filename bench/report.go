package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"text/tabwriter"
)

// A figure is what was measured: the median of its runs, and how far they lie apart.
type figure struct {
	Value  float64   `json:"value"`
	Runs   []float64 `json:"runs,omitempty"`
	Spread float64   `json:"spread"` // largest less smallest, as a share of the value
	Unit   string    `json:"unit"`
}

func summarize(runs []float64, unit string) figure {
	f := figure{Runs: runs, Unit: unit}
	if len(runs) == 0 {
		return f
	}
	sorted := slices.Sorted(slices.Values(runs))
	f.Value = sorted[len(sorted)/2]
	if len(sorted)%2 == 0 {
		f.Value = (sorted[len(sorted)/2-1] + f.Value) / 2
	}
	if f.Value > 0 {
		f.Spread = (sorted[len(sorted)-1] - sorted[0]) / f.Value
	}
	return f
}

// amountOf is a figure that was measured once.
func amountOf(value float64, unit string) figure { return figure{Value: value, Unit: unit} }

func (f figure) String() string {
	text := amount(f.Value) + " " + f.Unit
	if len(f.Unit) > 0 && f.Unit[0] == '/' {
		text = amount(f.Value) + f.Unit
	}
	if len(f.Runs) > 1 {
		text += fmt.Sprintf(" ±%.0f %%", 50*f.Spread)
	}
	return text
}

func amount(v float64) string {
	switch {
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 1:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}

// What a target asks for.
const (
	atLeast = ">="
	atMost  = "<="
	exactly = "="
	shown   = "" // no target: shown for comparison
)

// A row is one line of the table. With a base, its target is a multiple of that; without, an
// amount.
type row struct {
	Key      string  `json:"key"`
	Name     string  `json:"name"`
	Measured figure  `json:"measured"`
	BaseName string  `json:"baseName,omitempty"`
	Base     figure  `json:"base,omitzero"`
	Ratio    float64 `json:"ratio,omitempty"`
	Relation string  `json:"relation"`
	Target   float64 `json:"target,omitempty"`
	Reached  bool    `json:"reached"`
	Note     string  `json:"note,omitempty"`
	Cost     *cost   `json:"cost,omitempty"`
	Stolen   float64 `json:"stolen"` // share of the processors' time that the host gave to others meanwhile
}

// A cost is the latency of a row's requests, and their processor time. Each is the median of the
// row's runs. 0 means that it was not measured.
type cost struct {
	P50  float64 `json:"p50"` // ms, as the next two
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	CPU  float64 `json:"cpu,omitempty"` // µs a request, of the server and its database
}

// costOf returns the cost of runs of wrk.
func costOf(runs []outcome) *cost {
	median := func(of func(outcome) float64) float64 {
		var values []float64
		for _, run := range runs {
			values = append(values, of(run))
		}
		return summarize(values, "").Value
	}
	return &cost{
		P50:  median(func(o outcome) float64 { return o.P50 / 1e3 }),
		P99:  median(func(o outcome) float64 { return o.P99 / 1e3 }),
		P999: median(func(o outcome) float64 { return o.P999 / 1e3 }),
		CPU:  median(func(o outcome) float64 { return o.CPU }),
	}
}

// columns returns the cost as cells of the table.
func (c *cost) columns() string {
	if c == nil {
		return "\t\t\t"
	}
	cpu := ""
	if c.CPU > 0 {
		cpu = amount(c.CPU)
	}
	return amount(c.P50) + "\t" + amount(c.P99) + "\t" + amount(c.P999) + "\t" + cpu
}

// rates returns the runs' requests a second.
func rates(runs []outcome) figure {
	var values []float64
	for _, run := range runs {
		values = append(values, run.rate())
	}
	return summarize(values, "/s")
}

// report is what a run found.
type report struct {
	Machine []fact `json:"machine"`
	Rows    []row  `json:"rows"`

	theft theft
}

type fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// add judges a row and keeps it.
func (r *report) add(one row) {
	one.Stolen = r.theft.take()
	judged := one.Measured.Value
	if one.BaseName != "" {
		if one.Base.Value > 0 {
			one.Ratio = one.Measured.Value / one.Base.Value
		}
		judged = one.Ratio
	}
	switch one.Relation {
	case atLeast:
		one.Reached = judged >= one.Target
	case atMost:
		one.Reached = judged <= one.Target
	case exactly:
		one.Reached = judged == one.Target
	default:
		one.Reached = true
	}
	r.Rows = append(r.Rows, one)
}

func (r *report) reached() bool {
	return !slices.ContainsFunc(r.Rows, func(one row) bool { return !one.Reached })
}

func (r *report) print(out io.Writer) {
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range r.Machine {
		fmt.Fprintf(table, "%s\t%s\n", f.Name, f.Value)
	}
	_ = table.Flush()
	fmt.Fprintln(out)
	fmt.Fprintln(table, "what\tmeasured\tcompared to\tratio\ttarget\treached\tp50 ms\tp99 ms\tp99.9 ms\tCPU µs\tsteal")
	for _, one := range r.Rows {
		measured, base, ratio, target, reached := one.Measured.String(), "", "", "", "yes"
		if one.BaseName != "" {
			base, ratio = one.BaseName+" "+one.Base.String(), fmt.Sprintf("%.2f", one.Ratio)
		}
		switch {
		case one.Relation == shown && !one.Reached: // it could not be measured
			measured = "-"
		case one.Relation == shown:
			reached = ""
		case one.BaseName != "":
			target = fmt.Sprintf("%s %.2f", one.Relation, one.Target)
		default:
			target = one.Relation + " " + figure{Value: one.Target, Unit: one.Measured.Unit}.String()
		}
		if !one.Reached {
			reached = "NO"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.1f %%\n",
			one.Name, measured, base, ratio, target, reached, one.Cost.columns(), 100*one.Stolen)
	}
	_ = table.Flush()
	for _, one := range r.Rows {
		if one.Note != "" {
			fmt.Fprintf(out, "%s: %s\n", one.Key, one.Note)
		}
	}
}

func (r *report) write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}
