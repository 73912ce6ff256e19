package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	_ "gonum.org/v1/plot/vg/vgsvg"
)

// A curve is one line of a plot.
type curve struct {
	Plot   string    `json:"plot"`
	Name   string    `json:"name"`
	X      []string  `json:"x"`
	Y      []float64 `json:"y"`
	XLabel string    `json:"xLabel"`
	YLabel string    `json:"yLabel"`
}

const (
	plotBatch = "plot/batch"
	plotLoad  = "plot/load"
)

// batchConnections are enough to fill the larger batches.
const batchConnections = 512

var (
	plottedBatches = []int{1, 4, 16, 64, 256, 1024}
	plottedLoads   = []int{10, 25, 50, 75, 90} // percent of the peak
)

// curves measures what is only drawn.
func (b *bench) curves(ctx context.Context) error {
	if b.settings.plots == "" {
		return nil
	}
	if b.settings.wants(plotBatch) {
		if err := b.byBatchSize(ctx); err != nil {
			return err
		}
	}
	if b.settings.wants(plotLoad) {
		return b.byLoad(ctx)
	}
	return nil
}

func (b *bench) byBatchSize(ctx context.Context) error {
	adds := curve{Plot: "throughput-by-batch-size", Name: "/addToCart", XLabel: "BATCH_SIZE", YLabel: "requests a second"}
	checkouts := adds
	checkouts.Name = "/checkOutCart, one hot product"
	for _, size := range plottedBatches {
		s, err := b.openShop(ctx, mariadb, "--batch-size", strconv.Itoa(size))
		if err != nil {
			return err
		}
		for _, c := range []*curve{&adds, &checkouts} {
			what, most := add, 0.0
			if c == &checkouts {
				what, most = checkout, 30_000
			}
			o, err := b.measure(ctx, s, what, batchConnections, true, most)
			if err != nil {
				return err
			}
			b.progressf("%s: %s with BATCH_SIZE=%d: %.0f/s", plotBatch, c.Name, size, o.rate())
			c.X, c.Y = append(c.X, strconv.Itoa(size)), append(c.Y, o.rate())
		}
		if err := s.stop(); err != nil {
			return err
		}
	}
	b.report.Curves = append(b.report.Curves, adds, checkouts)
	return nil
}

func (b *bench) byLoad(ctx context.Context) error {
	s, err := b.openShop(ctx, mariadb)
	if err != nil {
		return err
	}
	peak, err := b.measure(ctx, s, add, openConnections, false, 0)
	if err != nil {
		return err
	}
	var all []curve
	percentiles := []float64{50, 99, 99.9}
	for _, p := range percentiles {
		all = append(all, curve{
			Plot: "latency-by-load", Name: fmt.Sprintf("p%v", p),
			XLabel: fmt.Sprintf("load, in percent of the peak of %.0f adds a second", peak.rate()), YLabel: "latency in ms",
		})
	}
	for _, load := range plottedLoads {
		if err := s.store.quiet(ctx); err != nil {
			return err
		}
		t, err := b.steady(ctx, s.base, peak.rate()*float64(load)/100)
		if err != nil {
			return err
		}
		b.progressf("%s: %d %%: p50 %.2f ms, p99 %.2f ms", plotLoad, load, percentile(t.succeeded, 50), percentile(t.succeeded, 99))
		for i, p := range percentiles {
			all[i].X, all[i].Y = append(all[i].X, strconv.Itoa(load)), append(all[i].Y, percentile(t.succeeded, p))
		}
	}
	b.report.Curves = append(b.report.Curves, all...)
	return s.stop()
}

// draw writes the plots that there are figures for.
func (r *report) draw(folder string) error {
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	for _, name := range []string{"throughput-by-batch-size", "latency-by-load"} {
		if err := r.drawCurves(folder, name); err != nil {
			return fmt.Errorf("draw %s: %w", name, err)
		}
	}
	if err := r.drawGrowth(folder); err != nil {
		return fmt.Errorf("draw growth: %w", err)
	}
	return nil
}

const (
	plotWidth  = 7 * vg.Inch
	plotHeight = 4 * vg.Inch
)

func (r *report) drawCurves(folder, name string) error {
	p := plot.New()
	p.Legend.Top, p.Legend.Left = true, true
	p.Y.Min = 0
	var lines []any
	for _, c := range r.Curves {
		if c.Plot != name {
			continue
		}
		points := make(plotter.XYs, len(c.Y))
		for i, y := range c.Y {
			points[i] = plotter.XY{X: float64(i), Y: y}
		}
		p.X.Label.Text, p.Y.Label.Text = c.XLabel, c.YLabel
		p.NominalX(c.X...)
		lines = append(lines, c.Name, points)
	}
	if len(lines) == 0 {
		return nil
	}
	if err := plotutil.AddLinePoints(p, lines...); err != nil {
		return err
	}
	p.Add(plotter.NewGrid())
	return p.Save(plotWidth, plotHeight, filepath.Join(folder, name+".svg"))
}

// drawGrowth draws the empty shops' throughput beside the full ones'.
func (r *report) drawGrowth(folder string) error {
	var names []string
	var empty, full plotter.Values
	for _, one := range r.Rows {
		if kind, is := strings.CutPrefix(one.Key, "growth/"); is && one.Relation == atLeast {
			names = append(names, kind)
			empty, full = append(empty, one.Base.Value), append(full, one.Measured.Value)
		}
	}
	if len(names) == 0 {
		return nil
	}
	p := plot.New()
	p.Legend.Top = true
	p.Y.Label.Text = "requests a second"
	p.Y.Min = 0
	const width = 24 * vg.Length(1)
	for i, bars := range []struct {
		name   string
		values plotter.Values
	}{{"empty", empty}, {"1,000,000 lines, 100,000 products, 10,000 in flight", full}} {
		chart, err := plotter.NewBarChart(bars.values, width)
		if err != nil {
			return err
		}
		chart.Color = plotutil.Color(i)
		chart.LineStyle.Width = 0
		chart.Offset = vg.Length(2*i-1) * width / 2
		p.Add(chart)
		p.Legend.Add(bars.name, chart)
	}
	p.NominalX(names...)
	return p.Save(plotWidth, plotHeight, filepath.Join(folder, "growth.svg"))
}
