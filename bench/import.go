package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

const (
	importRows    = 1_000_000
	importHeld    = 1_000 // every so manieth row is of a product of which more is held than the row says
	importLevel   = 10    // units on hand, and held, of such a product
	importTarget  = 2     // times the adds' 99th percentile without the import
	importWithin  = 15 * time.Minute
	afterImport   = 500 * time.Millisecond // adds go on so long after it
	importAtLeast = 10 * time.Second       // shorter, and its percentile would say little
)

// addsToLines are adds to lines that are there: while a million rows are imported, random ones
// would make millions more, and what comes after the import would be another shop than what was
// before.
func (b *bench) addsToLines(base string, rate float64, length time.Duration) offer {
	o := b.adds(base, rate, length)
	seed := uint64(b.seed)
	o.body = func(n int, into []byte) []byte {
		client, product := cartLine(int(mix(seed<<32+uint64(n))%grownLines), products)
		return fmt.Appendf(into, `{"clientID":"c%07d","productID":"p%05d","quantity":1}`, client, product)
	}
	return o
}

// imports measures how long adds take that come at half of the peak rate while a large file is
// imported, by another process, as operators do; and how fast that import is where nobody buys.
func (b *bench) imports(ctx context.Context) error {
	for _, engine := range engines {
		for _, one := range []struct {
			key     string
			measure func(ctx context.Context, key, engine string) error
		}{
			{"import/" + engine, b.importUnderLoad}, {"import-idle/" + engine, b.importIdle},
		} {
			if !b.settings.asksFor(one.key) {
				continue
			}
			if err := one.measure(ctx, one.key, engine); err != nil {
				if err := b.missed(ctx, one.key, err); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// importQuantity is how many units the i-th row sets.
func importQuantity(i int) int {
	if i%importHeld == 0 {
		return importLevel / 2 // below what is held: to be refused
	}
	return 1 + spread(i, 1000)
}

// writeImport writes the file.
func (b *bench) writeImport() (path string, err error) {
	path = filepath.Join(b.dir, "products.csv")
	file, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	out := bufio.NewWriter(file)
	fmt.Fprintln(out, "product_id,product_name,quantity")
	for i := range importRows {
		fmt.Fprintf(out, "sku-%07d,Product number %d,%d\n", i, i, importQuantity(i))
	}
	return path, out.Flush()
}

// hold brings the products that are to be refused into a shop, each with one hold of another
// instance's checkout, whose lease does not end.
func (s *store) hold(ctx context.Context) error {
	const n = importRows / importHeld
	if err := s.insert(ctx, "product_details (product_id, product_name, quantity)", n, func(i int) string {
		return fmt.Sprintf("('sku-%07d','',%d)", i*importHeld, importLevel)
	}); err != nil {
		return err
	}
	if err := s.insert(ctx, "checkout_journal (checkout_id, client_id, state, epoch, lease_expires_at, items, created_at, updated_at)", n, func(i int) string {
		return fmt.Sprintf(`('%s','flight%07d','reserved',1,'%s','[{"productID":"sku-%07d","quantity":%d}]','%[6]s','%[6]s')`,
			flightID(i), i, "2100-01-01 00:00:00.000", i*importHeld, importLevel, "2026-01-01 00:00:00.000")
	}); err != nil {
		return err
	}
	return s.insert(ctx, "reserve_purchase (reserve_id, product_id, quantity)", n, func(i int) string {
		return fmt.Sprintf("('%s:1','sku-%07d',%d)", flightID(i), i*importHeld, importLevel)
	})
}

// An imported is what became of an import.
type imported struct {
	took   time.Duration
	memory int64 // the most that was resident, in bytes
}

func (i imported) rate() float64 { return importRows / i.took.Seconds() }

// importFile runs the command as an operator would.
func (b *bench) importFile(ctx context.Context, s *store, path string) (done imported, err error) {
	ctx, cancel := context.WithTimeout(ctx, importWithin)
	defer cancel()
	var said bytes.Buffer
	command := exec.CommandContext(ctx, b.cartwheel, append([]string{"stock", "import", path}, s.flags...)...)
	command.Env, command.Stdout, command.Stderr = cleanEnvironment(), &said, &said
	separate(command)
	began := time.Now()
	if err := command.Start(); err != nil {
		return done, err
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	for looking := time.NewTicker(100 * time.Millisecond); ; {
		select {
		case <-looking.C:
			// Not what the kernel says of a child in the end: that counts what its parent had when
			// it was made.
			if peak, err := peakMemory(command.Process.Pid); err == nil {
				done.memory = peak
			}
			continue
		case err = <-ended:
			looking.Stop()
		}
		break
	}
	done.took = time.Since(began)
	// The refused rows make it end with status 1, and it says each.
	refused := fmt.Sprintf("%d bad;", importRows/importHeld)
	if command.ProcessState.ExitCode() != 1 || !strings.Contains(strings.ReplaceAll(said.String(), ",", ""), refused) {
		text := said.String()
		return done, fmt.Errorf("the import ended with %w: %s", errors.Join(err, errors.New("status and summary are not those of "+refused)), text[max(0, len(text)-2000):])
	}
	return done, nil
}

// checkImport holds what is stored against the file, and the books against each other.
func (b *bench) checkImport(ctx context.Context, s *store) error {
	want := 0
	for i := range importRows {
		if i%importHeld == 0 {
			want += importLevel
			continue
		}
		want += importQuantity(i)
	}
	const ours = " FROM product_details WHERE product_id BETWEEN 'sku-' AND 'sku-~'"
	rows, err := s.number(ctx, "SELECT COUNT(*)"+ours)
	if err != nil {
		return err
	}
	units, err := s.number(ctx, "SELECT SUM(quantity)"+ours)
	if err != nil {
		return err
	}
	if rows != importRows || units != want {
		return fmt.Errorf("%d products of %d units are stored, and not %d of %d", rows, units, importRows, want)
	}
	audit := exec.CommandContext(ctx, b.cartwheel, append([]string{"audit"}, s.flags...)...)
	audit.Env = cleanEnvironment()
	if said, err := audit.CombinedOutput(); err != nil {
		return fmt.Errorf("audit: %w: %s", err, said)
	}
	return nil
}

func (b *bench) importUnderLoad(ctx context.Context, key, engine string) error {
	path, err := b.writeImport()
	if err != nil {
		return err
	}
	s, err := b.openShop(ctx, engine)
	if err != nil {
		return err
	}
	if err := errors.Join(s.store.hold(ctx), s.store.fillCarts(ctx, products)); err != nil {
		return err
	}
	peak, err := b.measure(ctx, s, add, openConnections, false, 0)
	if err != nil {
		return err
	}
	rate := peak.rate() / 2
	if err := s.store.quiet(ctx); err != nil {
		return err
	}
	b.progressf("%s: the peak is %.0f/s", key, peak.rate())
	var without taking // before it, and after it: a machine that has other work has it in one of the two at least
	if err := b.takeWithout(ctx, s, rate, &without); err != nil {
		return err
	}
	unitsBefore, err := s.store.units(ctx)
	if err != nil {
		return err
	}

	// The load goes on for as long as the import takes.
	var over atomic.Bool
	type end struct {
		done imported
		err  error
	}
	ended := make(chan end, 1)
	go func() {
		done, err := b.importFile(ctx, s.store, path)
		_ = wait(ctx, afterImport)
		over.Store(true)
		ended <- end{done, err}
	}()
	load := b.addsToLines(s.base, rate, importWithin)
	load.enough = over.Load
	during, err := load.take(ctx)
	over.Store(true)
	of := <-ended
	if err := errors.Join(err, of.err); err != nil {
		return err
	}
	if err := during.clean(); err != nil {
		return err
	}
	if of.done.took < importAtLeast {
		return fmt.Errorf("the import took %v: too short to say what it does to adds", of.done.took)
	}
	unitsAfter, err := s.store.units(ctx)
	if err != nil {
		return err
	}
	if unitsAfter-unitsBefore != len(during.succeeded) {
		return fmt.Errorf("%d adds succeeded, and %d units are stored", len(during.succeeded), unitsAfter-unitsBefore)
	}
	if err := b.takeWithout(ctx, s, rate, &without); err != nil {
		return err
	}
	if err := b.checkImport(ctx, s.store); err != nil {
		return err
	}
	note := fmt.Sprintf("%.0f rows a second (%.1f s) beside %.0f adds a second, %d MiB of memory at most; adds p50 %.2f ms (%.2f without), p99.9 %.2f ms (%.2f without), slowest %.0f ms",
		of.done.rate(), of.done.took.Seconds(), rate, of.done.memory/mib,
		percentile(during.succeeded, 50), percentile(without.succeeded, 50),
		percentile(during.succeeded, 99.9), percentile(without.succeeded, 99.9), percentile(during.succeeded, 100))
	b.progressf("%s: p99 %.2f ms; %s", key, percentile(during.succeeded, 99), note)
	b.report.add(row{
		Key: key, Name: fmt.Sprintf("/addToCart, %s, p99 at half of peak while 1,000,000 rows are imported", engineName(engine)),
		Measured: amountOf(percentile(during.succeeded, 99), "ms"), BaseName: "without", Base: amountOf(percentile(without.succeeded, 99), "ms"),
		Relation: atMost, Target: importTarget, Cost: during.cost(), Note: note,
	})
	return s.stop()
}

// takeWithout adds to what was seen of adds that come while nothing is imported.
func (b *bench) takeWithout(ctx context.Context, s *shop, rate float64, without *taking) error {
	for _, length := range []time.Duration{b.settings.warm, 2 * b.settings.measured} {
		t, err := b.addsToLines(s.base, rate, length).take(ctx)
		if err == nil {
			err = t.clean()
		}
		if err != nil {
			return err
		}
		if length > b.settings.warm {
			b.progressf("without the import p50 %.2f ms, p99 %.2f ms", percentile(t.succeeded, 50), percentile(t.succeeded, 99))
			without.succeeded = append(without.succeeded, t.succeeded...)
		}
	}
	without.sort()
	return nil
}

func (b *bench) importIdle(ctx context.Context, key, engine string) error {
	path, err := b.writeImport()
	if err != nil {
		return err
	}
	s, err := b.openShop(ctx, engine)
	if err != nil {
		return err
	}
	if err := s.store.hold(ctx); err != nil {
		return err
	}
	done, err := b.importFile(ctx, s.store, path)
	if err != nil {
		return err
	}
	if err := b.checkImport(ctx, s.store); err != nil {
		return err
	}
	b.report.add(row{
		Key: key, Name: fmt.Sprintf("stock import of 1,000,000 rows, %s, nobody buys", engineName(engine)),
		Measured: amountOf(done.rate(), "/s"), Note: fmt.Sprintf("%.1f s, %d MiB of memory at most", done.took.Seconds(), done.memory/mib),
	})
	return s.stop()
}
