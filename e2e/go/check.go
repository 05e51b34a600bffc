package main

import (
	"fmt"
	"sync"
	"time"
)

// Long enough for a busy two-core machine; a working server needs a small part of it.
const deadline = 60 * time.Second

// equal says what was expected and what was there.
func equal(what string, expected, found any) error {
	want, got := fmt.Sprint(expected), fmt.Sprint(found)
	if want != got {
		return fmt.Errorf("%s: expected %s, found %s", what, want, got)
	}
	return nil
}

// eventually asks until the probe gives what is expected; the error names the last answer.
func eventually(what string, expected any, probe func() (any, error)) error {
	end := time.Now().Add(deadline)
	for {
		found, err := probe()
		if err == nil {
			err = equal(what, expected, found)
		}
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: not within %s: %w", what, deadline, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// tally counts texts; its value prints the same whatever the order of arrival.
type tally struct {
	mutex  sync.Mutex
	counts map[string]int
}

func (t *tally) add(text string) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.counts == nil {
		t.counts = map[string]int{}
	}
	t.counts[text]++
}

// found copies the counts: fmt prints a map sorted by key.
func (t *tally) found() (any, error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	counts := map[string]int{}
	for text, count := range t.counts {
		counts[text] = count
	}
	return counts, nil
}
