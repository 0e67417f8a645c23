-- SPDX-License-Identifier: PostgreSQL

-- Parts 21 to 89 make the functions that users call in the target schema,
-- whatever its name.  There every name and operator that needs to be looked up
-- is qualified.
SELECT set_config('search_path', current_setting('apikeys_install.search_path'), true);
