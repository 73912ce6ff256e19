package main

import "testing"

func TestMutations_replaceExistingText(t *testing.T) {
	t.Parallel()
	if err := anchored("../..", mutations()); err != nil {
		t.Error(err)
	}
}
