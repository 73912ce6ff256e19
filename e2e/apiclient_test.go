package e2e

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"cartwheel/e2e/apiclient"
)

// A shop that generates its client from /documentation/openapi.json can show, change and buy a
// cart.
func TestAPIClient_generatedClientBuysACart(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		s.stock(t, map[string]int{"mug": 5, "pen": 3})
		shop := start(t, s)
		c, err := apiclient.NewClientWithResponses(shop.base)
		if err != nil {
			t.Fatal(err)
		}
		ctx, key := t.Context(), "key-1"
		for product, quantity := range map[string]int32{"mug": 4, "pen": 2} {
			added, err := c.AddToCartWithResponse(ctx, &apiclient.AddToCartParams{IdempotencyKey: ptr("add-" + product)},
				apiclient.AddToCartRequest{ClientID: "ann", ProductID: product, Quantity: quantity})
			if err != nil || added.JSON200 == nil {
				t.Fatalf("add: %v, %v", added, err)
			}
		}
		refused, err := c.UpdateCartWithResponse(ctx, nil, apiclient.UpdateCartRequest{ClientID: "ann", ProductID: "mug", Quantity: 6})
		if err != nil || refused.JSON409 == nil || refused.HTTPResponse.Header.Get("Cartwheel-Error") != "not_enough_stock" {
			t.Fatalf("raise too far: %+v, %v", refused, err)
		}
		lowered, err := c.UpdateCartWithResponse(ctx, nil, apiclient.UpdateCartRequest{ClientID: "ann", ProductID: "mug", Quantity: 1})
		if err != nil || lowered.JSON200 == nil {
			t.Fatalf("lower: %+v, %v", lowered, err)
		}
		cart, err := c.GetCartWithResponse(ctx, &apiclient.GetCartParams{ClientID: "ann"})
		if err != nil || cart.JSON200 == nil || len(cart.JSON200.Lines) != 2 || cart.JSON200.Lines[0].Quantity != 1 {
			t.Fatalf("cart: %+v, %v", cart, err)
		}
		tag := cart.HTTPResponse.Header.Get("ETag")
		bought, err := c.CheckOutCartWithResponse(ctx, &apiclient.CheckOutCartParams{
			IdempotencyKey: &key, IfMatch: &tag, CartwheelReference: ptr("order-1"),
		}, apiclient.ClientRequest{ClientID: "ann"})
		if err != nil || bought.JSON200 == nil {
			t.Fatalf("buy: %+v, %v", bought, err)
		}
		id := bought.HTTPResponse.Header.Get("Cartwheel-Checkout")
		found, err := c.GetCheckoutWithResponse(ctx, &apiclient.GetCheckoutParams{CheckoutID: id})
		if err != nil || found.JSON200 == nil || found.JSON200.State != "committed" || found.JSON200.Reference != "order-1" {
			t.Fatalf("checkout %s: %+v, %v", id, found, err)
		}
		stock, err := c.GetStockWithResponse(ctx, &apiclient.GetStockParams{ProductID: []string{"mug", "none"}})
		if err != nil || stock.JSON200 == nil || len(stock.JSON200.Products) != 1 || stock.JSON200.Products[0].Available != 4 {
			t.Fatalf("stock: %+v, %v", stock, err)
		}
		missing, err := c.GetCheckoutWithResponse(ctx, &apiclient.GetCheckoutParams{CheckoutID: "none"})
		if err != nil || missing.StatusCode() != http.StatusNotFound || missing.JSON404 == nil {
			t.Fatalf("an unknown checkout: %+v, %v", missing, err)
		}
	})
}

func ptr[T any](v T) *T { return &v }

// The client that is checked in is what the tool makes of the description.
func TestAPIClient_isUpToDate(t *testing.T) {
	t.Parallel()
	made := filepath.Join(t.TempDir(), "client.gen.go")
	command := exec.CommandContext(t.Context(), "go", "tool", "oapi-codegen", "-generate", "types,client", "-package", "apiclient",
		"-o", made, "../docs/openapi.json")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("generate the client: %v\n%s", err, out)
	}
	want, err := os.ReadFile(made)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("apiclient/client.gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("apiclient/client.gen.go is stale: run make docs")
	}
}
