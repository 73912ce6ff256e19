// Command storefront is a small shop in front of Cartwheel: a page, the shop's backend, its payment
// service and its webhook. docs/storefront.md explains it. It keeps everything in memory, which a
// real shop does not.
package main

import (
	_ "embed"
	"encoding/json"
	"flag"
	"log"
	"net/http"
	"os"
)

//go:embed page.html
var page []byte

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "where the shop listens")
	cartwheel := flag.String("cartwheel", "http://127.0.0.1:5003", "Cartwheel's URL")
	flag.Parse()
	s := newShop(*cartwheel, os.Getenv("WEBHOOK_SECRET"))
	log.Println("the shop listens on", *listen)
	log.Fatal(http.ListenAndServe(*listen, s.routes()))
}

func (s *shop) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		session(w, r)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(page)
	})
	mux.HandleFunc("GET /api/products", s.showProducts)
	mux.HandleFunc("GET /api/cart", s.showCart)
	mux.HandleFunc("POST /api/cart", s.changeCart)
	mux.HandleFunc("POST /api/login", s.logIn)
	mux.HandleFunc("POST /api/authorise", s.authorise)
	mux.HandleFunc("POST /api/checkout", s.checkOut)
	mux.HandleFunc("POST /api/cancel", s.cancel)
	mux.HandleFunc("GET /api/orders", s.showOrders)

	// What Cartwheel calls. PAYMENT_URL=http://…/gateway, WEBHOOK_URL=http://…/events.
	mux.HandleFunc("PUT /gateway/payments/{id}", s.charge)
	mux.HandleFunc("DELETE /gateway/payments/{id}", s.void)
	mux.HandleFunc("POST /gateway/payments/{id}/refund", s.refund)
	mux.HandleFunc("POST /events", s.event)
	return mux
}

// session returns the customer of a request: a guest, or who logged in.
func session(w http.ResponseWriter, r *http.Request) string {
	if cookie, err := r.Cookie("client"); err == nil {
		return cookie.Value
	}
	guest := "guest-" + randomID()
	setSession(w, guest)
	return guest
}

func setSession(w http.ResponseWriter, client string) {
	http.SetCookie(w, &http.Cookie{Name: "client", Value: client, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

func reply(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		log.Println("answer:", err)
	}
}
