-- SPDX-License-Identifier: PostgreSQL

-- Permissions documents.

CREATE FUNCTION apikey_permissions_preset(preset text) RETURNS jsonb
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_permissions_preset(text)
IS 'A permissions document by name: full_access, admin. Raises 22023 for another name.';

CREATE FUNCTION apikey_model_allowed(permissions jsonb, model text) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_model_allowed(jsonb, text)
IS 'True if a permissions document allows a model. Raises 22023 for an invalid document.';

CREATE FUNCTION apikey_endpoint_allowed(permissions jsonb, endpoint text) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME';
COMMENT ON FUNCTION apikey_endpoint_allowed(jsonb, text)
IS 'True if a permissions document allows an endpoint. Raises 22023 for an invalid document.';
