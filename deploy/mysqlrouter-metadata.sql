-- What MySQL Router reads about a group, for a group that was made without MySQL Shell. It runs once, on the primary,
-- when all nodes have joined. With MySQL Shell, dba.createCluster('cartwheel', {adoptFromGR: true}) makes it instead.
CREATE DATABASE mysql_innodb_cluster_metadata;
USE mysql_innodb_cluster_metadata;

CREATE TABLE clusters (
	cluster_id   CHAR(36) CHARACTER SET ascii PRIMARY KEY,
	cluster_name VARCHAR(63) NOT NULL
);
CREATE TABLE v2_routers (
	router_id     INT UNSIGNED PRIMARY KEY,
	router_name   VARCHAR(255) NOT NULL,
	address       VARCHAR(255) NOT NULL,
	version       VARCHAR(12),
	last_check_in TIMESTAMP NULL,
	attributes    JSON,
	options       JSON
);
INSERT INTO clusters SELECT @@group_replication_group_name, 'cartwheel';
INSERT INTO v2_routers (router_id, router_name, address, attributes, options) VALUES (1, 'one', '', '{}', '{}');

CREATE SQL SECURITY INVOKER VIEW schema_version (major, minor, patch) AS SELECT 2, 0, 0;
CREATE SQL SECURITY INVOKER VIEW v2_gr_clusters AS
	SELECT 'gr' AS cluster_type, cluster_id, cluster_id AS group_name, cluster_name FROM clusters;
CREATE SQL SECURITY INVOKER VIEW v2_clusters AS SELECT * FROM v2_gr_clusters;
-- The nodes are the group's members of the moment: one that was set up anew has another UUID.
CREATE SQL SECURITY INVOKER VIEW v2_instances AS
	SELECT member_port AS instance_id, cluster_id, CONCAT(member_host, ':', member_port) AS label,
		member_id AS mysql_server_uuid, CONCAT(member_host, ':', member_port) AS address,
		CONCAT(member_host, ':', member_port) AS endpoint, NULL AS xendpoint, JSON_OBJECT() AS attributes
	FROM performance_schema.replication_group_members JOIN clusters;
CREATE SQL SECURITY INVOKER VIEW v2_this_instance AS
	SELECT instance_id, cluster_id, cluster_name, cluster_type
	FROM v2_instances JOIN v2_clusters USING (cluster_id)
	WHERE mysql_server_uuid = (
		SELECT variable_value FROM performance_schema.global_variables WHERE variable_name = 'server_uuid');

CREATE USER router IDENTIFIED BY 'change me';
GRANT SELECT ON mysql_innodb_cluster_metadata.* TO router;
GRANT INSERT, UPDATE, DELETE ON mysql_innodb_cluster_metadata.v2_routers TO router;
GRANT SELECT ON performance_schema.replication_group_members TO router;
GRANT SELECT ON performance_schema.replication_group_member_stats TO router;
GRANT SELECT ON performance_schema.global_variables TO router;
