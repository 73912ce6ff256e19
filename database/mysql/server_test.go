package mysql

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"cartwheel/database/engine"
)

func TestServer_warnsOfClusterSettings(t *testing.T) {
	t.Parallel()
	galera := func(options string) variables {
		return variables{
			"innodb_flush_log_at_trx_commit": "1", "wsrep_on": "ON", "wsrep_cluster_address": "gcomm://a,b",
			"wsrep_provider_options": options, "binlog_row_image": "FULL",
		}
	}
	group := variables{
		"innodb_flush_log_at_trx_commit": "1", "group_replication_group_name": "g", "binlog_row_image": "full",
		"group_replication_consistency": "BEFORE_ON_PRIMARY_FAILOVER", "group_replication_single_primary_mode": "ON",
	}
	with := func(v variables, name, value string) variables {
		changed := variables{name: value}
		for other, value := range v {
			if other != name {
				changed[other] = value
			}
		}
		return changed
	}
	for name, c := range map[string]struct {
		server variables
		want   string // part of the only warning; empty: none
	}{
		"one server":         {variables{"innodb_flush_log_at_trx_commit": "1", "binlog_row_image": "MINIMAL"}, ""},
		"galera, default":    {galera("evs.send_window = 4; evs.suspect_timeout = PT5S; evs.user = 4"), "evs.suspect_timeout"},
		"galera, fast":       {galera("evs.suspect_timeout = PT2.5S; evs.user = 4"), ""},
		"galera, minutes":    {galera("evs.suspect_timeout = PT1M2S; evs.user = 4"), "evs.suspect_timeout"},
		"galera, row image":  {with(galera("evs.suspect_timeout = PT2S;"), "binlog_row_image", "MINIMAL"), "binlog_row_image"},
		"group":              {group, ""},
		"group, eventual":    {with(group, "group_replication_consistency", "EVENTUAL"), "group_replication_consistency"},
		"forgets its commit": {with(group, "innodb_flush_log_at_trx_commit", "2"), "innodb_flush_log_at_trx_commit"},
	} {
		var log bytes.Buffer
		if err := c.server.check(slog.New(slog.NewTextHandler(&log, nil))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		warnings := strings.Count(log.String(), "level=WARN")
		if c.want == "" && warnings != 0 || c.want != "" && (warnings != 1 || !strings.Contains(log.String(), c.want)) {
			t.Errorf("%s: %d warnings, want one of %q or none: %s", name, warnings, c.want, log.String())
		}
	}
}

func TestServer_refusesSeveralPrimaries(t *testing.T) {
	t.Parallel()
	several := variables{
		"innodb_flush_log_at_trx_commit": "1", "group_replication_group_name": "g", "group_replication_single_primary_mode": "OFF",
	}
	if err := several.check(slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "several primaries") {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestServer_connectionsToAGroupBeginWithACausalRead(t *testing.T) {
	t.Parallel()
	group := variables{"group_replication_group_name": "g"}
	if read := group.causalRead(); !strings.Contains(read, "group_replication_consistency = 'BEFORE'") || !group.isClustered() {
		t.Errorf("got %q", read)
	}
	if read := (variables{}).causalRead(); read != "" {
		t.Errorf("outside of clusters: got %q, want none", read)
	}
}

func TestServer_readsGaleraSuspectTimeout(t *testing.T) {
	t.Parallel()
	v := variables{"wsrep_on": "ON", "wsrep_cluster_address": "gcomm://", "wsrep_provider_options": "evs.suspect_timeout = PT1M1.5S; x = 1"}
	if got := v.suspectTimeout(); got != 61500*time.Millisecond {
		t.Errorf("got %v, want 1m1.5s", got)
	}
}

func TestFault_deadlockDuringCommitIsAConflict(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]engine.Fault{
		"Got error 149 - 'Lock deadlock; Retry transaction' during COMMIT": engine.Conflict,
		"Got error 5 - 'Input/output error' during COMMIT":                 engine.Other,
	} {
		got, number := Fault(&mysql.MySQLError{Number: 1180, Message: message})
		if got != want || number != "1180" {
			t.Errorf("%s: got fault %v of %q; want %v", message, got, number, want)
		}
	}
}
