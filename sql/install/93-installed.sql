-- SPDX-License-Identifier: PostgreSQL

-- What apikeys.check() compares the objects with.
INSERT INTO apikeys_data.installed_state (object, property, value)
SELECT o.object, o.property, o.value
FROM apikeys_data.object_state o;
