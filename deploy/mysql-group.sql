-- It runs on each node before the node joins, and makes the account by which nodes reach each other. The account is no
-- transaction of the group, so that the node can still join.
SET SESSION sql_log_bin = 0;
CREATE USER node IDENTIFIED BY 'change me';
GRANT REPLICATION SLAVE, CONNECTION_ADMIN, BACKUP_ADMIN, GROUP_REPLICATION_STREAM ON *.* TO node;
CHANGE REPLICATION SOURCE TO SOURCE_USER = 'node', SOURCE_PASSWORD = 'change me' FOR CHANNEL 'group_replication_recovery';
