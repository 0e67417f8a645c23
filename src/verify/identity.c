/*-------------------------------------------------------------------------
 *
 * identity.c
 *	  Whose key the running transaction has logged in with.
 *
 * The identity is in this backend's memory and nowhere else, so no SQL can
 * forge it: only identity_set() makes one, and only what has judged a key may
 * call that.  It ends with the transaction, however that ends, so nothing of
 * it is left for the next user of a pooled connection.
 *
 * It follows savepoints as settings do.  A subtransaction that changes it
 * first saves what was there: ROLLBACK TO brings that back, RELEASE keeps the
 * change.  It is still there for what runs at commit (deferred triggers, the
 * queries of cursors WITH HOLD), and gone when the commit is acknowledged.
 *
 * All of it is in the transaction's memory; an identity has a context of its
 * own, so that a transaction that logs in a million times does not grow.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "model/permissions.h"
#include "verify/identity.h"

typedef struct Identity
{
	MemoryContext memory;		/* of all of this */
	pg_uuid_t  *uuids[IDENTITY_NUUIDS]; /* NULL: the key has none */
	text	   *external_id;	/* likewise */
	Jsonb	   *document;		/* of the permissions */
	Permissions *permissions;	/* parsed; NULL: nobody has asked yet */
} Identity;

/* What a subtransaction that has changed the identity found. */
typedef struct Saved
{
	SubTransactionId subid;
	Identity   *identity;		/* NULL: none */
	struct Saved *below;		/* of a subtransaction further out */
} Saved;

static const KeyColumn uuid_columns[IDENTITY_NUUIDS] = {
	[IDENTITY_ID] = KEY_ID,
	[IDENTITY_ROOT_ID] = KEY_ROOT_ID,
	[IDENTITY_USER_ID] = KEY_USER_ID,
	[IDENTITY_TEAM_ID] = KEY_TEAM_ID,
};

static Identity *current = NULL;
static Saved *saved = NULL;

/* Frees an identity that nothing refers to any more. */
static void
free_identity(Identity *identity)
{
	if (identity != NULL)
		MemoryContextDelete(identity->memory);
}

/* Removes the innermost of the saved identities; returns it. */
static Identity *
pop_saved(void)
{
	Saved	   *top = saved;
	Identity   *identity = top->identity;

	saved = top->below;
	pfree(top);

	return identity;
}

/* Ends the identity with the transaction, in whose memory it is. */
void
identity_at_eoxact(void)
{
	current = NULL;
	saved = NULL;
}

/* Keeps the change of a subtransaction that commits, undoes the other's. */
void
identity_at_eosubxact(bool is_commit, SubTransactionId subid, SubTransactionId parent)
{
	/* Subtransactions within this one have ended before. */
	Assert(saved == NULL || saved->subid <= subid);
	if (saved == NULL || saved->subid != subid)
		return;

	if (!is_commit)
	{
		free_identity(current);
		current = pop_saved();
	}
	else if (saved->below != NULL && saved->below->subid == parent)
		free_identity(pop_saved());
	else
		saved->subid = parent;
}

/* Puts another identity, or NULL, in the place of the current one. */
static void
replace(Identity *identity)
{
	SubTransactionId subid = GetCurrentSubTransactionId();

	if (saved != NULL && saved->subid == subid)
		free_identity(current);
	else
	{
		Saved	   *top = MemoryContextAlloc(TopTransactionContext, sizeof(Saved));

		top->subid = subid;
		top->identity = current;
		top->below = saved;
		saved = top;
	}
	current = identity;
}

/*
 * Makes a key the identity of the transaction.  The caller has judged it to
 * be good.
 */
void
identity_set(const KeyRow *row)
{
	MemoryContext memory = AllocSetContextCreate(TopTransactionContext, "apikeys identity",
												 ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(memory);
	Identity   *identity = palloc0(sizeof(Identity));

	identity->memory = memory;
	for (int i = 0; i < IDENTITY_NUUIDS; i++)
	{
		KeyColumn	column = uuid_columns[i];

		if (row->nulls[column])
			continue;
		identity->uuids[i] = palloc(sizeof(pg_uuid_t));
		*identity->uuids[i] = *DatumGetUUIDP(row->values[column]);
	}
	if (!row->nulls[KEY_EXTERNAL_ID])
		identity->external_id = DatumGetTextPCopy(row->values[KEY_EXTERNAL_ID]);
	identity->document = DatumGetJsonbPCopy(row->values[KEY_PERMISSIONS]);
	MemoryContextSwitchTo(old);

	replace(identity);
}

/* Leaves the transaction without an identity. */
void
identity_clear(void)
{
	if (current != NULL)
		replace(NULL);
}

/* Returns an id of the identity; NULL where it has none, or there is none. */
const pg_uuid_t *
identity_uuid(IdentityUuid which)
{
	return current != NULL ? current->uuids[which] : NULL;
}

/* Likewise the name that somebody else has for it. */
const text *
identity_external_id(void)
{
	return current != NULL ? current->external_id : NULL;
}

/* Has the identity a permission, by the rule that verify uses? */
bool
identity_has_permission(const text *name)
{
	if (current == NULL)
		return false;

	if (current->permissions == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(current->memory);
		Permissions *permissions = palloc0(sizeof(Permissions));

		permissions_parse(current->document, permissions);
		current->permissions = permissions;
		MemoryContextSwitchTo(old);
	}

	return current->permissions->is_admin ||
		   patterns_match(current->permissions->custom_permissions, name);
}
