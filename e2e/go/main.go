// The real Go client against our servers: `compat list`, or `compat NAME_SERVER BROKER [SCENARIO...]`, or, to see what is refused,
// `compat try NAME_SERVER BROKER TOPIC`. RMQ_ACCESS_KEY and RMQ_SECRET_KEY are the keys that it signs with.
// It prints `ok SCENARIO` or `FAILED SCENARIO: why`, one line each, in the order in which they end.
package main

import (
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

var scenarios = map[string]func(*cluster) error{
	"admin_topic":            adminTopic,
	"pull_from_offset":       pullFromOffset,
	"pull_poll":              pullPoll,
	"push_concurrent":        pushConcurrent,
	"push_delay_level":       pushDelayLevel,
	"push_orderly":           pushOrderly,
	"push_resume":            pushResume,
	"push_retry_dead_letter": pushRetryDeadLetter,
	"push_sql":               pushSQL,
	"push_tags":              pushTags,
	"send_async":             sendAsync,
	"send_batch":             sendBatch,
	"send_compressed":        sendCompressed,
	"send_one_way":           sendOneWay,
	"send_sync":              sendSync,
	"send_refused":           sendRefused,
	"transactions":           transactions,
}

func main() {
	rlog.SetLogLevel("fatal")
	arguments := os.Args[1:]
	if len(arguments) == 1 && arguments[0] == "list" {
		for _, name := range names() {
			fmt.Println(name)
		}
		return
	}
	if len(arguments) == 4 && arguments[0] == "try" {
		servers, err := newCluster(arguments[1], arguments[2])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		for name, err := range attempts(servers, arguments[3]) {
			report(name, err)
		}
		servers.close()
		return
	}
	if len(arguments) < 2 {
		fmt.Fprintln(os.Stderr, "give `list`, or the addresses of a name server and a broker and, if not all, the scenarios to run")
		os.Exit(2)
	}
	chosen := arguments[2:]
	if len(chosen) == 0 {
		chosen = names()
	}
	servers, err := newCluster(arguments[0], arguments[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}

	var running sync.WaitGroup
	var printing sync.Mutex
	failed := false
	for _, name := range chosen {
		running.Add(1)
		go func(name string) {
			defer running.Done()
			err := run(name, servers)
			printing.Lock()
			defer printing.Unlock()
			failed = failed || err != nil
			report(name, err)
		}(name)
	}
	running.Wait()
	servers.close()
	if failed {
		os.Exit(1)
	}
}

func report(name string, err error) {
	if err != nil {
		fmt.Printf("FAILED %s: %s\n", name, strings.ReplaceAll(err.Error(), "\n", " | "))
	} else {
		fmt.Println("ok " + name)
	}
}

func run(name string, servers *cluster) (err error) {
	scenario, known := scenarios[name]
	if !known {
		return fmt.Errorf("no such scenario; `list` names them")
	}
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("the client panicked: %v", panicked)
		}
	}()
	return scenario(servers)
}

func names() []string {
	all := make([]string, 0, len(scenarios))
	for name := range scenarios {
		all = append(all, name)
	}
	sort.Strings(all)
	return all
}
