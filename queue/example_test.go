package queue_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"cartwheel/queue"
)

// A bank books transfers in batches: one write to disk for all that gathered, one answer for each.
func Example() {
	type deposit struct {
		account string
		amount  int
	}
	var errNotPositive = errors.New("not a positive amount")
	balances := map[string]int{} // touched by the queue's one worker only

	deposits := queue.New(queue.Config[deposit, int]{
		Name:      "bank.deposit",
		Shards:    1,
		Capacity:  1024,
		BatchSize: 256,
		Work: func(_ context.Context, jobs []deposit, answers []queue.Answer[int]) error {
			for i, job := range jobs {
				if job.amount < 1 {
					answers[i].Err = errNotPositive
					continue
				}
				balances[job.account] += job.amount
				answers[i].Value = balances[job.account]
			}
			return nil // here the batch would be written, once
		},
	})

	ctx := context.Background()
	var callers sync.WaitGroup
	for range 100 {
		callers.Go(func() {
			if _, err := deposits.Do(ctx, "alice", deposit{"alice", 5}); err != nil {
				fmt.Println(err)
			}
		})
	}
	callers.Wait()

	fmt.Println(deposits.Do(ctx, "alice", deposit{"alice", 1}))
	fmt.Println(deposits.Do(ctx, "alice", deposit{"alice", -1}))
	fmt.Println(deposits.Close(ctx))
	fmt.Println(deposits.Do(ctx, "alice", deposit{"alice", 1}))
	// Output:
	// 501 <nil>
	// 0 not a positive amount
	// <nil>
	// 0 bank.deposit: queue is closed
}
