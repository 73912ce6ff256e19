package mysql

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// variables are the global variables of a server that we rely on, by lower-case name. A server does
// not have all.
type variables map[string]string

func readVariables(ctx context.Context, settings *mysql.Config) (v variables, err error) {
	db := pool(settings, 1, "READ ONLY", nil)
	defer func() { err = errors.Join(err, db.Close()) }()
	rows := []struct {
		Name  string `db:"Variable_name"`
		Value string `db:"Value"`
	}{}
	const query = `SHOW GLOBAL VARIABLES WHERE Variable_name IN (
		'version', 'innodb_rollback_on_timeout', 'innodb_flush_log_at_trx_commit', 'log_bin', 'binlog_format', 'binlog_row_image', 'innodb_snapshot_isolation',
		'wsrep_on', 'wsrep_cluster_address', 'wsrep_provider_options',
		'group_replication_group_name', 'group_replication_consistency', 'group_replication_single_primary_mode')`
	if err := db.SelectContext(ctx, &rows, query); err != nil {
		return nil, err
	}
	v = make(variables, len(rows))
	for _, row := range rows {
		v[strings.ToLower(row.Name)] = row.Value
	}
	return v, nil
}

// dialect is that of the server: MariaDB has INSERT … RETURNING, of all versions that we run on;
// MySQL has not.
func (v variables) dialect() dialect {
	return dialect{returning: strings.Contains(v["version"], "MariaDB")}
}

// check refuses a server whose settings break what transactions rely on and that no session can
// set. It warns of one that may forget a commit that it answered, and of clusters that are slower
// to replace a node than we wait.
func (v variables) check(log *slog.Logger) error {
	switch {
	case isOn(v["innodb_rollback_on_timeout"]):
		// A locked row must cost its statement alone, not what the transaction did before.
		return errors.New("innodb_rollback_on_timeout is ON:" +
			" turn it OFF, which is the default, and restart the database server")
	case isOn(v["log_bin"]) && strings.EqualFold(v["binlog_format"], "STATEMENT"):
		// READ COMMITTED cannot be logged as statements: every write would fail with error 1665.
		return errors.New("binlog_format is STATEMENT:" +
			" set it to ROW (SET GLOBAL binlog_format = ROW, and in the server's configuration)")
	case v.isGroup() && !isOn(v["group_replication_single_primary_mode"]):
		// A refusal could come from a node that does not have yet what another one answered.
		return errors.New("the group has several primaries, which read old rows: SELECT group_replication_switch_to_single_primary_mode()")
	}
	if v["innodb_flush_log_at_trx_commit"] != "1" {
		log.Warn("innodb_flush_log_at_trx_commit is not 1: a power cut or a crash can lose confirmed orders",
			"value", v["innodb_flush_log_at_trx_commit"])
	}
	if v.isClustered() && !strings.EqualFold(v["binlog_row_image"], "FULL") {
		log.Warn("binlog_row_image is not FULL: nodes may differ in their rows", "value", v["binlog_row_image"])
	}
	if suspect := v.suspectTimeout(); suspect >= ioTimeout {
		log.Warn("evs.suspect_timeout is not below the time for which an answer is awaited: requests fail when a node dies",
			"value", suspect, "timeout", ioTimeout)
	}
	if v.isGroup() && strings.EqualFold(v["group_replication_consistency"], "EVENTUAL") {
		log.Warn("group_replication_consistency is EVENTUAL: a new primary answers before it has applied all commits;"+
			" set it to BEFORE_ON_PRIMARY_FAILOVER", "value", v["group_replication_consistency"])
	}
	return nil
}

// isClustered reports whether the server is a node of Galera or Group Replication. Row locks are
// local to a node there, and only what a transaction changes is certified.
func (v variables) isClustered() bool { return v.isGalera() || v.isGroup() }

func (v variables) isGalera() bool {
	return isOn(v["wsrep_on"]) && strings.HasPrefix(v["wsrep_cluster_address"], "gcomm:")
}

func (v variables) isGroup() bool { return v["group_replication_group_name"] != "" }

// causalRead is what a new connection to a cluster begins with: it waits until the node has applied
// what any node committed before. A node that takes over may lag, one that was expelled does not
// know it yet, and a lost COMMIT is looked up there. It is empty outside of clusters.
func (v variables) causalRead() string {
	switch {
	case v.isGalera():
		return "SET SESSION wsrep_sync_wait = 1; SELECT 1; SET SESSION wsrep_sync_wait = 0"
	case v.isGroup(): // a SELECT without a table would not wait
		return "SET SESSION group_replication_consistency = 'BEFORE'; BEGIN; COMMIT;" +
			" SET SESSION group_replication_consistency = DEFAULT"
	}
	return ""
}

// suspectTimeout is after how long Galera suspects a silent node to be dead. It is 0 elsewhere.
func (v variables) suspectTimeout() time.Duration {
	if !v.isGalera() {
		return 0
	}
	_, rest, _ := strings.Cut(v["wsrep_provider_options"], "evs.suspect_timeout = PT")
	period, _, _ := strings.Cut(rest, ";") // ISO 8601, such as 1M30S
	timeout, _ := time.ParseDuration(strings.ToLower(period))
	return timeout
}

func isOn(value string) bool { return strings.EqualFold(value, "ON") || value == "1" }
