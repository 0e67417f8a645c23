-- SPDX-License-Identifier: PostgreSQL

-- What apikeys.check() looks for: a view for each kind of object, whose rows are
-- the problems.  They are read by one statement, so with one snapshot.
--
-- Texts are not cast, which a cast of somebody else's could do: they are read as
-- literals are.
--
-- What a deletion has left for a clean-up is no problem, and its event tells it
-- from what was lost.  So it matters which events have been deleted.

CREATE TYPE apikeys_data.problem AS (
    level text,
    object text,
    problem text
);
COMMENT ON TYPE apikeys_data.problem IS 'Something that does not agree with what else is stored.';
COMMENT ON COLUMN apikeys_data.problem.level IS 'error: what apikeys relies on does not hold; warning: it does, but somebody should know.';
COMMENT ON COLUMN apikeys_data.problem.object IS 'Of what it is, such as a key with its id.';
COMMENT ON COLUMN apikeys_data.problem.problem IS 'What is wrong.';

CREATE FUNCTION apikeys_data.uuid_or_null(value text) RETURNS uuid
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN $1 ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN uuid_in(textout($1)) END;
END;
COMMENT ON FUNCTION apikeys_data.uuid_or_null(text) IS 'A text as a UUID; null for any other text.';

-- The event of a clean-up is younger than all that it has deleted, so the last
-- one is always there.
CREATE VIEW apikeys_data.known_since AS
SELECT coalesce(max(c.before) FILTER (WHERE c.action = 'cleanup_events'), '-infinity') AS events,
       coalesce(max(c.before), '-infinity') AS usage
FROM (SELECT e.action,
             CASE WHEN e.details->>'before' ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?[-+][0-9]{2}:[0-9]{2}$'
                  THEN timestamptz_in(textout(e.details->>'before'), 0, -1) ELSE e.at END AS before
      FROM apikeys_data.event e
      WHERE e.action IN ('cleanup_events', 'cleanup_usage')) c;
COMMENT ON VIEW apikeys_data.known_since IS 'Since when no event, and since when no day of usage, has been deleted.';

CREATE VIEW apikeys_data.deleted_owner AS
SELECT e.key_id AS id
FROM apikeys_data.event e
WHERE e.action IN ('delete', 'cleanup') AND e.key_id IS NOT NULL
UNION ALL
SELECT apikeys_data.uuid_or_null(e.details->>'budget_id')
FROM apikeys_data.event e
WHERE e.action = 'budget_delete';
COMMENT ON VIEW apikeys_data.deleted_owner IS 'Keys and budgets that the extension has deleted, as far as there are events of it.';
