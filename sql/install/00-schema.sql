-- SPDX-License-Identifier: PostgreSQL

/* The install script of apikeys, which the Makefile joins from sql/install. */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION apikeys CASCADE" to load this file. \quit

-- Parts 00 to 19 make what is in the schema apikeys, under a pinned
-- search_path: nothing that somebody has put into the target schema may be
-- found there.  Part 20 returns to the path that CREATE EXTENSION has set.
SELECT pg_catalog.set_config('apikeys_install.search_path',
                             pg_catalog.current_setting('search_path'), true);
SET LOCAL search_path = pg_catalog, pg_temp;

-- A plain CREATE: a schema that is there already may be somebody's trap.
CREATE SCHEMA apikeys;
COMMENT ON SCHEMA apikeys IS 'Tables, types and views of the apikeys extension.';
