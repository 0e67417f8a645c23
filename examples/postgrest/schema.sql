-- SPDX-License-Identifier: PostgreSQL
--
-- Notes of several tenants behind PostgREST, each of whom has a key.

CREATE TABLE note (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner_id uuid NOT NULL DEFAULT apikey_current_user_id(),
    body text NOT NULL
);
ALTER TABLE note ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON note USING (owner_id = (SELECT apikey_current_user_id()));

CREATE FUNCTION whoami() RETURNS text LANGUAGE SQL STABLE
RETURN coalesce(apikey_current_external_id(), 'nobody');

-- PostgREST logs in as authenticator, and acts as anonymous.
CREATE ROLE anonymous;
CREATE ROLE authenticator LOGIN NOINHERIT;
GRANT anonymous TO authenticator;
GRANT SELECT, INSERT ON note TO anonymous;
GRANT EXECUTE ON FUNCTION whoami, apikey_pre_request, apikey_current_user_id, apikey_current_external_id TO anonymous;
