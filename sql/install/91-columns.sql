-- SPDX-License-Identifier: PostgreSQL

-- What the columns of tables, and of views that only functions read, are.

COMMENT ON COLUMN apikeys_data.key.rotated_at IS 'When it was rotated, or null.';
COMMENT ON COLUMN apikeys_data.key.key_hash IS 'SHA-256 of the raw key, or its HMAC-SHA-256 under hash_secret.';
COMMENT ON COLUMN apikeys_data.key.hash_secret IS 'Name of the HMAC secret; null: key_hash is a plain SHA-256.';
COMMENT ON COLUMN apikeys_data.key.enabled IS 'False: it is switched off.';
COMMENT ON COLUMN apikeys_data.key_notice.key_id IS 'Id of the key.';
COMMENT ON COLUMN apikeys_data.usage.key_id IS 'Id of the key.';
COMMENT ON COLUMN apikeys_data.usage.last_used_at IS 'Its latest use that is written.';
COMMENT ON COLUMN apikeys_data.usage.last_used_ip IS 'The address of that use.';
COMMENT ON COLUMN apikeys_data.usage_day.key_id IS 'Id of the key.';
COMMENT ON COLUMN apikeys_data.usage_entry.recorded_at IS 'When it was recorded.';
COMMENT ON COLUMN apikeys_data.usage_entry.tokens IS 'Tokens of the request; negative for a void.';
COMMENT ON COLUMN apikeys_data.usage_entry.cost IS 'Cost of the request; negative for a void.';
COMMENT ON COLUMN apikeys_data.usage_entry.model IS 'Model of the request, or null.';
COMMENT ON COLUMN apikeys_data.usage_request.key_id IS 'Id of the key.';
COMMENT ON COLUMN apikeys_data.usage_request.request_id IS 'Id that the application has given to the request.';
COMMENT ON COLUMN apikeys_data.usage_request.recorded_at IS 'When it was recorded.';
COMMENT ON COLUMN apikeys_data.usage_request.tokens IS 'Tokens of the request.';
COMMENT ON COLUMN apikeys_data.usage_request.cost IS 'Cost of the request.';
COMMENT ON COLUMN apikeys_data.usage_request.model IS 'Model of the request, or null.';
COMMENT ON COLUMN apikeys_data.usage_request.is_void IS 'True once it has been taken back.';
COMMENT ON COLUMN apikeys_data.budget.created_at IS 'When it was made.';
COMMENT ON COLUMN apikeys_data.budget.updated_at IS 'When its row was last changed.';
COMMENT ON COLUMN apikeys_data.budget_period.budget_id IS 'Id of the budget.';
COMMENT ON COLUMN apikeys_data.budget_period.started_at IS 'Start of the period.';
COMMENT ON COLUMN apikeys_data.budget_period.spent IS 'What was spent in it, as far as it is rolled up.';
COMMENT ON COLUMN apikeys_data.budget_credit.budget_id IS 'Id of the budget.';
COMMENT ON COLUMN apikeys_data.budget_credit.started_at IS 'Start of the period.';
COMMENT ON COLUMN apikeys_data.budget_credit.added IS 'What was added in it; negative if more was taken back.';
COMMENT ON COLUMN apikeys_data.budget_warning.budget_id IS 'Id of the budget.';
COMMENT ON COLUMN apikeys_data.budget_warning.started_at IS 'Start of the period.';
COMMENT ON COLUMN apikeys_data.budget_warning.fraction IS 'The element of warn_at that was reached.';
COMMENT ON COLUMN apikeys_data.plan.created_at IS 'When it was made.';
COMMENT ON COLUMN apikeys_data.plan.updated_at IS 'When it was last changed.';
COMMENT ON COLUMN apikeys_data.installed_state.object IS 'The object.';
COMMENT ON COLUMN apikeys_data.installed_state.property IS 'What is looked at.';
COMMENT ON COLUMN apikeys_data.installed_state.value IS 'How it was.';


COMMENT ON COLUMN apikeys_data.key_state.enabled IS 'False: it is switched off.';
COMMENT ON COLUMN apikeys_data.key_state.idle_at IS 'When it expires if nobody uses it, by its idle_timeout; null: not for that.';
COMMENT ON COLUMN apikeys_data.deleted_owner.id IS 'Id of the key or budget.';
COMMENT ON COLUMN apikeys_data.extension_member.classid IS 'Catalog that the object is in.';
COMMENT ON COLUMN apikeys_data.extension_member.objid IS 'Its oid.';
COMMENT ON COLUMN apikeys_data.extension_member.extowner IS 'Owner of the extension.';
COMMENT ON COLUMN apikeys_data.known_since.events IS 'Since when no event has been deleted.';
COMMENT ON COLUMN apikeys_data.known_since.usage IS 'Since when no day of usage has been deleted.';
COMMENT ON COLUMN apikeys_data.object_state.object IS 'The object.';
COMMENT ON COLUMN apikeys_data.object_state.property IS 'What is looked at.';
COMMENT ON COLUMN apikeys_data.object_state.value IS 'How it is.';
COMMENT ON COLUMN apikeys_data.row_rule.relation IS 'The table.';
COMMENT ON COLUMN apikeys_data.row_rule.rule IS 'The expression, over a row that is called r.';
COMMENT ON COLUMN apikeys_data.row_rule.identity IS 'The columns that identify a row.';
COMMENT ON COLUMN apikeys_data.spent_in_period.budget_id IS 'Id of the budget.';
COMMENT ON COLUMN apikeys_data.spent_in_period.started_at IS 'Start of the period.';
COMMENT ON COLUMN apikeys_data.spent_in_period.spent IS 'What was spent in it.';
COMMENT ON COLUMN apikeys_data.key_history.id IS 'Id of the key.';
COMMENT ON COLUMN apikeys_data.key_history.is_of_one_node IS 'One node has written all its events.';
COMMENT ON COLUMN apikeys_data.key_history.is_there IS 'It exists.';
COMMENT ON COLUMN apikeys_data.key_history.is_birth_known IS 'It was made when all events are known.';
COMMENT ON COLUMN apikeys_data.key_history.is_rotation_known IS 'It was rotated when all events are known.';
COMMENT ON COLUMN apikeys_data.key_history.is_revoked IS 'It is revoked.';
COMMENT ON COLUMN apikeys_data.key_history.is_revocation_known IS 'It was revoked when all events are known.';
COMMENT ON COLUMN apikeys_data.key_history.is_revoked_by_rotation IS 'It was revoked by its rotation, which has no event of its own for that.';
COMMENT ON COLUMN apikeys_data.key_history.births IS 'How many events say that it was made.';
COMMENT ON COLUMN apikeys_data.key_history.born IS 'The last of these.';
COMMENT ON COLUMN apikeys_data.key_history.born_as IS 'Its masked form in it.';
COMMENT ON COLUMN apikeys_data.key_history.first IS 'The first event of all.';
COMMENT ON COLUMN apikeys_data.key_history.last IS 'The last event but for notices.';
COMMENT ON COLUMN apikeys_data.key_history.rotated IS 'The last rotation.';
COMMENT ON COLUMN apikeys_data.key_history.revoked IS 'The last revocation.';
COMMENT ON COLUMN apikeys_data.key_history.changed IS 'The last update or rotation.';
COMMENT ON COLUMN apikeys_data.key_history.deleted IS 'The last deletion.';

-- The others are described where people see them.  The search_path is pinned here.
DO $$
DECLARE
    here record;
BEGIN
    FOR here IN
        SELECT c.relname, c.relkind, a.attname, described.comment
        FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN (VALUES ('key', 'apikeys.info'), ('key_state', 'apikeys.info'), ('key_info', 'apikeys.info'),
                     ('key_history', 'apikeys.info'), ('usage', 'apikeys.info'), ('usage_day', 'apikeys_data.daily_usage'),
                     ('open_entry', 'apikeys_data.usage_entry'),
                     ('budget', 'apikeys.budget_info'), ('budget_info', 'apikeys.budget_info'),
                     ('plan', 'apikeys.plan_info'),
                     ('%\_problem', 'apikeys_data.problem')) source(pattern, relation) ON c.relname LIKE source.pattern
        JOIN LATERAL (SELECT col_description(s.attrelid, s.attnum) AS comment
                      FROM pg_attribute s
                      WHERE s.attrelid = source.relation::regclass AND s.attname = a.attname) described ON true
        WHERE c.relnamespace = 'apikeys_data'::regnamespace AND c.relkind IN ('r', 'v')
          AND col_description(c.oid, a.attnum) IS NULL
    LOOP
        EXECUTE format('COMMENT ON COLUMN apikeys_data.%I.%I IS %L', here.relname, here.attname, here.comment);
    END LOOP;
END $$;
