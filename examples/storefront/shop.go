package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Prices in cents. Cartwheel knows none.
var prices = map[string]int64{"mug": 1200, "espresso": 2450, "grinder": 8900, "kettle": 6900}

// An order is what the customer saw and authorised, under the number that travels as
// Cartwheel-Reference.
type order struct {
	Number   string `json:"number"`
	Client   string `json:"-"`
	ETag     string `json:"-"`
	Cents    int64  `json:"cents"`
	State    string `json:"state"` // authorised, sold, declined, cancelled
	Checkout string `json:"checkout"`
	Events   int    `json:"events"`

	charged, refunded bool
}

type shop struct {
	cartwheel string
	secret    string
	client    *http.Client

	mu       sync.Mutex
	orders   map[string]*order // by number
	payments map[string]string // checkout ID to order number; "" is voided before any charge
}

func newShop(cartwheel, secret string) *shop {
	return &shop{
		cartwheel: cartwheel, secret: secret, client: &http.Client{Timeout: 20 * time.Second},
		orders: map[string]*order{}, payments: map[string]string{},
	}
}

func randomID() string { return rand.Text()[:12] }

// An answer is what every answer of Cartwheel has.
type answer struct {
	code   int
	header http.Header
	body   []byte
	Status string `json:"status"`
	Error  string `json:"error"`
}

// call asks Cartwheel. A change that was not answered is repeated with its key: that is harmless.
func (s *shop) call(method, path string, body any, header http.Header) (answer, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return answer{}, err
	}
	for try := 0; ; try++ {
		got, err := s.callOnce(method, path, text, header)
		again := err != nil || got.code == http.StatusServiceUnavailable || got.code == http.StatusGatewayTimeout
		if !again || try == 3 || method == "POST" && header.Get("Idempotency-Key") == "" {
			return got, err
		}
		time.Sleep(200 * time.Millisecond << try)
	}
}

func (s *shop) callOnce(method, path string, body []byte, header http.Header) (got answer, err error) {
	request, err := http.NewRequest(method, s.cartwheel+path, nil)
	if err != nil {
		return got, err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	if method == "POST" {
		request.Body, request.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := s.client.Do(request)
	if err != nil {
		return got, err
	}
	defer response.Body.Close()
	if got.body, err = io.ReadAll(response.Body); err != nil {
		return got, err
	}
	got.code, got.header = response.StatusCode, response.Header
	return got, json.Unmarshal(got.body, &got)
}

func key(k string) http.Header { return http.Header{"Idempotency-Key": {k}} }

// pass sends Cartwheel's answer on to the page.
func pass(w http.ResponseWriter, got answer, err error) {
	if err != nil {
		reply(w, http.StatusBadGateway, map[string]string{"error": "the shop cannot be reached, try again"})
		return
	}
	w.Header().Set("Cartwheel-Error", got.header.Get("Cartwheel-Error"))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(got.code)
	w.Write(got.body)
}

func (s *shop) showProducts(w http.ResponseWriter, _ *http.Request) {
	query := url.Values{}
	for product := range prices {
		query.Add("productID", product)
	}
	got, err := s.call("GET", "/stock?"+query.Encode(), nil, nil)
	pass(w, got, err)
}

func (s *shop) showCart(w http.ResponseWriter, r *http.Request) {
	got, err := s.call("GET", "/cart?clientID="+url.QueryEscape(session(w, r)), nil, nil)
	pass(w, got, err)
}

// changeCart sets a line. The page makes a key for each click, so that a repeat changes nothing.
func (s *shop) changeCart(w http.ResponseWriter, r *http.Request) {
	var change struct {
		Product  string `json:"product"`
		Quantity int64  `json:"quantity"`
		Key      string `json:"key"`
	}
	if err := json.NewDecoder(r.Body).Decode(&change); err != nil {
		reply(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	got, err := s.call("POST", "/updateCart", map[string]any{
		"clientID": session(w, r), "productID": change.Product, "quantity": change.Quantity,
	}, key(change.Key))
	pass(w, got, err)
}

// logIn makes the guest a customer, who keeps what the guest had in the cart.
func (s *shop) logIn(w http.ResponseWriter, r *http.Request) {
	guest, customer := session(w, r), "customer-"+r.FormValue("name")
	if guest == customer {
		reply(w, http.StatusOK, map[string]string{"status": "Success"})
		return
	}
	got, err := s.call("POST", "/mergeCarts", map[string]any{"fromClientID": guest, "toClientID": customer}, key("login-"+guest))
	if err == nil && got.code == http.StatusOK {
		setSession(w, customer)
	}
	pass(w, got, err)
}

// authorise adds the prices up and has the customer confirm the payment, as 3-D Secure does. What
// was seen, its ETag, and the authorisation are remembered under the order's number.
func (s *shop) authorise(w http.ResponseWriter, r *http.Request) {
	client := session(w, r)
	got, err := s.call("GET", "/cart?clientID="+url.QueryEscape(client), nil, nil)
	if err != nil || got.code != http.StatusOK {
		pass(w, got, err)
		return
	}
	var cart struct {
		Lines []struct {
			ProductID string
			Quantity  int64
		}
	}
	if err := json.Unmarshal(got.body, &cart); err != nil {
		reply(w, http.StatusBadGateway, map[string]string{"error": err.Error()})
		return
	}
	o := &order{Number: "order-" + randomID(), Client: client, ETag: got.header.Get("ETag"), State: "authorised"}
	for _, line := range cart.Lines {
		o.Cents += prices[line.ProductID] * line.Quantity
	}
	if r.FormValue("code") != "1234" { // what the customer's bank sent
		o.State = "declined"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orders[o.Number] = o
	reply(w, http.StatusOK, o)
}

// checkOut buys exactly what was authorised: If-Match has the cart's ETag, the reference is the
// order's number, and so is the key, so that a repeat buys nothing more.
func (s *shop) checkOut(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	o := s.orders[r.FormValue("order")]
	s.mu.Unlock()
	if o == nil || o.Client != session(w, r) {
		reply(w, http.StatusNotFound, map[string]string{"error": "no such order"})
		return
	}
	header := key(o.Number)
	header.Set("If-Match", o.ETag)
	header.Set("Cartwheel-Reference", o.Number)
	got, err := s.call("POST", "/checkOutCart", map[string]any{"clientID": o.Client}, header)
	if err == nil {
		s.mu.Lock()
		o.Checkout = got.header.Get("Cartwheel-Checkout")
		s.mu.Unlock()
	}
	pass(w, got, err)
}

func (s *shop) cancel(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	o := s.orders[r.FormValue("order")]
	s.mu.Unlock()
	if o == nil || o.Client != session(w, r) {
		reply(w, http.StatusNotFound, map[string]string{"error": "no such order"})
		return
	}
	got, err := s.call("POST", "/cancelCheckout", map[string]any{"checkoutID": o.Checkout}, nil)
	pass(w, got, err)
}

func (s *shop) showOrders(w http.ResponseWriter, r *http.Request) {
	client := session(w, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	orders := []*order{}
	for _, o := range s.orders {
		if o.Client == client && o.Checkout != "" {
			orders = append(orders, o)
		}
	}
	reply(w, http.StatusOK, map[string]any{"orders": orders, "client": fmt.Sprint(client)})
}
