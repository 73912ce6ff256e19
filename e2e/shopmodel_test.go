package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// The model of cart and stock, against which histories are checked: is there an order of all steps,
// each between its request's call and return, in which every answer and every look at the tables is
// what this model says?
//
// A request takes one or several steps, each at one moment:
//
//	a checkout    takes its cart's lines and holds them (TX 1), and later sells them or puts them back (TX 2)
//	a refusal     is one step that changes nothing, at a moment when what it says is so
//	an add        is one step: the line grows, at a moment when that much is available
//	a lowering    is one step: the line has at most that many units
//	a merge       is one step: all lines of one cart move into the other
//	a look        is one step: carts, on hand and held are all as of one moment
//
// That is what the embedded engine must keep, where one transaction writes at a time (strict).
// Where several write at a time, the design promises less, and the model allows just that:
//
//   - An add holds nothing. It is allowed at one moment and stored at a later one, and what it was
//     compared with may have been
//     bought between the two.
//   - A checkout sees which lines its cart has at one moment, and takes those at a later one, with
//     the units that they have by then. A line that is new between the two is for the next
//     checkout, so that of a merge it may take a part. For another checkout the cart is empty when
//     it has no other lines.
//   - So does a merge with the cart that it empties.
//   - A refused checkout names what was available when it looked. Something may have been put back
//     by the moment at which
//     the checkouts of its batch took theirs.
//
// An add without an answer, or with 504, may have taken its step at any later moment, or never: it
// is unknown forever. How a checkout without an answer ended is in the journal.
const (
	modelClients  = 2
	modelProducts = 2
)

// units are that many of each product.
type units [modelProducts]int

// A step is one thing that happens at one moment.
type step struct {
	kind      stepKind
	strict    bool
	maybe     bool // of an add whose outcome is not known
	request   int  // whose step it is
	client    int
	product   int
	quantity  int // of an add, or that an import adds
	wanted    int // as a refusal says
	available int // as a refusal says
	seen      tables
}

type stepKind string

// The kinds of step.
const (
	stepAdd         stepKind = "add"          // strict, or not known
	stepAllow       stepKind = "allow"        // an add is allowed …
	stepStore       stepKind = "store"        // … and stored
	stepRefuseAdd   stepKind = "refuse add"   // 409
	stepLower       stepKind = "lower"        // a line that has more, to that many units
	stepMergeSee    stepKind = "see a cart"   // a merge sees the other client's cart …
	stepMerge       stepKind = "merge"        // … and moves what it saw into this one; strict: both
	stepSee         stepKind = "see"          // a checkout sees its cart …
	stepTake        stepKind = "take"         // … and takes and holds what it saw; strict: both
	stepSell        stepKind = "sell"         // what is held
	stepPutBack     stepKind = "put back"     // what is held
	stepRefuseEmpty stepKind = "refuse empty" // 409
	stepRefuseShort stepKind = "refuse short" // 409
	stepImport      stepKind = "import"
	stepLook        stepKind = "look"
)

// tables are what can be seen from outside.
type tables struct {
	carts        [modelClients]units
	onHand, held units
}

func (s tables) available(product int) int { return s.onHand[product] - s.held[product] }

// modelState is the tables, and how far the requests under way are. It is not changed once it is
// made.
type modelState struct {
	tables
	putBacks bool             // something was put back
	underWay map[int]progress // by request
}

// progress is how far a request is.
type progress struct {
	at     stage
	client int
	lines  units // that a checkout holds; of those that it saw, what they had then
}

type stage string

const (
	allowed stage = "allowed"
	saw     stage = "saw"
	holds   stage = "holds"
	over    stage = "over"
)

func (s modelState) equal(other modelState) bool {
	return s.tables == other.tables && s.putBacks == other.putBacks && maps.Equal(s.underWay, other.underWay)
}

// with returns the state with a request's progress changed. A request that is over is forgotten.
func (s modelState) with(op step, p progress) modelState {
	s.underWay = maps.Clone(s.underWay)
	if s.underWay == nil {
		s.underWay = map[int]progress{}
	}
	if p.at == over {
		delete(s.underWay, op.request)
	} else {
		s.underWay[op.request] = p
	}
	return s
}

// take takes a step, or reports that it cannot be taken in this state.
func (s modelState) take(op step) (bool, modelState) {
	p, under := s.underWay[op.request]
	line := &s.carts[op.client][op.product] // of this copy
	switch op.kind {
	case stepAdd:
		if op.strict && *line+op.quantity > s.available(op.product) {
			return op.maybe, s // it may have been refused
		}
		*line += op.quantity
		return true, s
	case stepAllow:
		return *line+op.quantity <= s.available(op.product), s.with(op, progress{at: allowed})
	case stepStore:
		*line += op.quantity
		return p.at == allowed, s.with(op, progress{at: over})
	case stepRefuseAdd:
		would := *line + op.quantity
		return op.wanted > op.available && s.available(op.product) == op.available &&
			(would == op.wanted || !op.strict && would < op.wanted), s
	case stepLower:
		*line = min(*line, op.quantity)
		return true, s
	case stepMergeSee:
		return true, s.with(op, progress{saw, 1 - op.client, s.carts[1-op.client]})
	case stepMerge:
		return s.merge(op, p, under)
	case stepSee:
		return s.see(op)
	case stepTake:
		if op.strict {
			seen, after := s.see(op)
			if !seen {
				return false, s
			}
			s, p = after, after.underWay[op.request]
			under = true
		}
		return s.takeLines(op, p, under)
	case stepSell, stepPutBack:
		return s.settle(op, p, under)
	case stepRefuseEmpty:
		return s.free(op.client, op.strict) == units{}, s
	case stepRefuseShort:
		return s.short(op), s
	case stepImport:
		s.onHand[op.product] += op.quantity
		return true, s
	case stepLook:
		return s.tables == op.seen, s
	}
	panic("no such step: " + op.kind)
}

// free is what a checkout finds in a cart: what another one saw there and is about to take is not
// for it.
func (s modelState) free(client int, strict bool) units {
	left := s.carts[client]
	for _, p := range s.underWay {
		if p.at == saw && p.client == client && !strict {
			left = left.without(p.lines)
		}
	}
	return left
}

// without returns the units of the products of which other has none.
func (u units) without(other units) units {
	for i := range u {
		if other[i] > 0 {
			u[i] = 0
		}
	}
	return u
}

func (s modelState) merge(op step, p progress, under bool) (bool, modelState) {
	moved := s.carts[1-op.client]
	if !op.strict {
		moved = moved.without(moved.without(p.lines))
		s = s.with(op, progress{at: over})
	}
	for i, n := range moved {
		s.carts[1-op.client][i] -= n
		s.carts[op.client][i] += n
	}
	return op.strict || under, s
}

func (s modelState) see(op step) (bool, modelState) {
	lines := s.free(op.client, op.strict)
	if lines == (units{}) {
		return false, s
	}
	return true, s.with(op, progress{saw, op.client, lines})
}

func (s modelState) takeLines(op step, p progress, under bool) (bool, modelState) {
	if !under || p.at != saw {
		return false, s
	}
	cart := s.carts[op.client]
	p.lines = cart.without(cart.without(p.lines))
	for i, n := range p.lines {
		if n > s.available(i) {
			return false, s
		}
	}
	if p.lines == (units{}) {
		return false, s
	}
	for i, n := range p.lines {
		s.carts[op.client][i] -= n
		s.held[i] += n
	}
	p.at = holds
	return true, s.with(op, p)
}

func (s modelState) settle(op step, p progress, under bool) (bool, modelState) {
	if !under || p.at != holds {
		return false, s
	}
	for i, n := range p.lines {
		s.held[i] -= n
		if op.kind == stepSell {
			s.onHand[i] -= n
		} else {
			s.carts[op.client][i] += n
		}
	}
	s.putBacks = s.putBacks || op.kind == stepPutBack
	return true, s.with(op, progress{at: over})
}

// short reports whether a checkout can be refused with what it was told.
func (s modelState) short(op step) bool {
	available := s.available(op.product)
	if s.carts[op.client][op.product] != op.wanted || op.wanted <= op.available {
		return false
	}
	if !op.strict {
		return available == op.available || available > op.available && s.putBacks
	}
	for i := range op.product { // the first line that is short is named
		if s.carts[op.client][i] > s.available(i) {
			return false
		}
	}
	return available == op.available
}

// A trace is the steps of a history, with the time in which each was taken.
type trace []porcupine.Operation

const forever = int64(1) << 62

// linearizable checks a history that began with that many of each product on hand.
func (h trace) linearizable(onHand units, within time.Duration) porcupine.CheckResult {
	model := porcupine.Model{
		Init:  func() any { return modelState{tables: tables{onHand: onHand}} },
		Step:  func(state, input, _ any) (bool, any) { return state.(modelState).take(input.(step)) },
		Equal: func(a, b any) bool { return a.(modelState).equal(b.(modelState)) },
	}
	return porcupine.CheckOperationsTimeout(model, h, within)
}

func (h trace) String() string {
	ordered := slices.Clone(h)
	slices.SortStableFunc(ordered, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var text strings.Builder
	for _, op := range ordered {
		s := op.Input.(step)
		ended := fmt.Sprint(op.Return / 1000)
		if op.Return == forever {
			ended = "?"
		}
		_, _ = fmt.Fprintf(&text, "%8d to %8s µs: request %d: %s, client %d, product %d, quantity %d", op.Call/1000, ended, s.request, s.kind,
			s.client, s.product, s.quantity)
		if s.wanted > 0 {
			_, _ = fmt.Fprintf(&text, ", wanted %d, available %d", s.wanted, s.available)
		}
		if s.kind == stepLook {
			_, _ = fmt.Fprintf(&text, ", saw %+v", s.seen)
		}
		if s.maybe {
			text.WriteString(", perhaps")
		}
		text.WriteString("\n")
	}
	return text.String()
}

func TestModel_rejectsWrongHistories(t *testing.T) {
	t.Parallel()
	// Times are in units that only order them.
	at := func(call, end int64, ops ...step) (h trace) {
		for _, op := range ops {
			h = append(h, porcupine.Operation{Input: op, Call: call, Return: end})
		}
		return h
	}
	look := func(cart, onHand, held int) step {
		return step{kind: stepLook, seen: tables{carts: [modelClients]units{{cart, 0}}, onHand: units{onHand, 0}, held: units{held, 0}}}
	}
	add := func(n int) step { return step{kind: stepAdd, strict: true, quantity: n} }
	unknown := step{kind: stepAdd, strict: true, maybe: true, quantity: 1}
	take := step{kind: stepTake, strict: true, request: 1}
	// On servers: client 1 has one unit of each product, and of product 1 client 0 has one, too.
	merging := func(taken, left units) trace {
		full, see := units{1, 1}, step{kind: stepSee, request: 1}
		return slices.Concat(
			at(0, 1, step{kind: stepImport, product: 1, quantity: 5}),
			at(1, 2, step{kind: stepAdd, product: 1, quantity: 1}), at(1, 2, step{kind: stepAdd, client: 1, quantity: 1}),
			at(1, 2, step{kind: stepAdd, client: 1, product: 1, quantity: 1}),
			at(3, 4, step{kind: stepLook, seen: tables{carts: [modelClients]units{{0, 1}, full}, onHand: units{5, 5}}}),
			at(5, 8, step{kind: stepMergeSee, request: 2}, step{kind: stepMerge, request: 2}), at(5, 11, see, step{kind: stepTake, request: 1}),
			at(9, 10, step{kind: stepLook, seen: tables{carts: [modelClients]units{left, {}}, onHand: units{5, 5}, held: taken}}))
	}
	sell, putBack := step{kind: stepSell, request: 1}, step{kind: stepPutBack, request: 1}
	for name, test := range map[string]struct {
		histories []trace
		want      porcupine.CheckResult
	}{
		"a checkout takes all of a merge":          {[]trace{merging(units{1, 2}, units{})}, porcupine.Ok},
		"a checkout takes what a merge raised":     {[]trace{merging(units{0, 2}, units{1, 0})}, porcupine.Ok},
		"a checkout comes before a merge":          {[]trace{merging(units{0, 1}, units{1, 1})}, porcupine.Ok},
		"a checkout takes a part of a line":        {[]trace{merging(units{1, 1}, units{0, 1})}, porcupine.Illegal},
		"a checkout takes what a merge only added": {[]trace{merging(units{1, 0}, units{0, 2})}, porcupine.Illegal},
		"a sale":                       {[]trace{at(1, 2, add(2)), at(3, 6, take, sell), at(7, 8, look(0, 3, 0))}, porcupine.Ok},
		"a look in the middle of it":   {[]trace{at(1, 2, add(2)), at(3, 6, take, sell), at(4, 5, look(0, 5, 2))}, porcupine.Ok},
		"stock is gone and still held": {[]trace{at(1, 2, add(2)), at(3, 6, take, sell), at(4, 5, look(0, 3, 2))}, porcupine.Illegal},
		"an add is lost":               {[]trace{at(1, 2, add(2)), at(3, 4, look(0, 5, 0))}, porcupine.Illegal},
		"an add is stored twice":       {[]trace{at(1, 2, add(2)), at(3, 4, look(4, 5, 0))}, porcupine.Illegal},
		"a line is lowered":            {[]trace{at(1, 2, add(2)), at(3, 4, step{kind: stepLower, quantity: 1}), at(5, 6, look(1, 5, 0))}, porcupine.Ok},
		"a lowering is lost":           {[]trace{at(1, 2, add(2)), at(3, 4, step{kind: stepLower, quantity: 1}), at(5, 6, look(2, 5, 0))}, porcupine.Illegal},
		"a merge moves the lines":      {[]trace{at(1, 2, add(2)), at(3, 4, step{kind: stepMerge, strict: true, client: 1}), at(5, 6, look(0, 5, 0))}, porcupine.Illegal},
		"a merge empties the other cart": {[]trace{at(1, 2, add(2)), at(3, 4, step{kind: stepMerge, strict: true, client: 1}), at(5, 6,
			step{kind: stepLook, seen: tables{carts: [modelClients]units{{}, {2, 0}}, onHand: units{5, 0}}})}, porcupine.Ok},
		"an add of too much": {[]trace{at(1, 2, add(6))}, porcupine.Illegal},
		"an add is refused for nothing": {[]trace{at(1, 2, step{kind: stepRefuseAdd, strict: true, quantity: 2, wanted: 2, available: 1})},
			porcupine.Illegal},
		"a put-back sets the line": {[]trace{at(1, 2, add(2)), at(3, 9, take, putBack), at(4, 5, look(0, 5, 2)), at(6, 7, add(1)),
			at(10, 11, look(2, 5, 0))}, porcupine.Illegal},
		"a put-back adds to the line": {[]trace{at(1, 2, add(2)), at(3, 9, take, putBack), at(4, 5, look(0, 5, 2)), at(6, 7, add(1)),
			at(10, 11, look(3, 5, 0))}, porcupine.Ok},
		"an add without an answer is stored":     {[]trace{at(1, forever, unknown), at(3, 4, look(1, 5, 0))}, porcupine.Ok},
		"an add without an answer is not stored": {[]trace{at(1, forever, unknown), at(3, 4, look(0, 5, 0))}, porcupine.Ok},
		"an add without an answer comes and goes": {[]trace{at(1, forever, unknown), at(3, 4, look(1, 5, 0)), at(5, 6, look(0, 5, 0))},
			porcupine.Illegal},
	} {
		if got := slices.Concat(test.histories...).linearizable(units{5, 0}, time.Minute); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}
