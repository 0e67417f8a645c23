-- SPDX-License-Identifier: PostgreSQL

/* The install script of apikeys, which the Makefile joins from sql/install. */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION apikeys CASCADE" to load this file. \quit

-- Parts 00 to 19 make what is in the schemas apikeys and apikeys_data, under a
-- pinned search_path: nothing that somebody has put into the target schema may
-- be found there.  Part 20 returns to the path that CREATE EXTENSION has set.
SELECT pg_catalog.set_config('apikeys_install.search_path',
                             pg_catalog.current_setting('search_path'), true);
SET LOCAL search_path = pg_catalog, pg_temp;

-- A plain CREATE: a schema that is there already may be somebody's trap.
CREATE SCHEMA apikeys;
COMMENT ON SCHEMA apikeys IS 'Types, views and their functions of the apikeys extension.';

-- No level of access has USAGE here.  Whoever can name a table can lock it: the
-- server takes the lock of CREATE RULE, REFERENCES and INHERITS before it asks
-- who owns the table.  The same holds for views and row types, so what the
-- functions read and return is here as well.
CREATE SCHEMA apikeys_data;
COMMENT ON SCHEMA apikeys_data IS 'Tables of the apikeys extension, and the views that its functions read; for its owner alone.';
