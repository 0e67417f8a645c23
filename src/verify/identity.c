/*-------------------------------------------------------------------------
 *
 * identity.c
 *	  The key with which the running transaction has logged in.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The identity is only in the memory of this backend, so no SQL can forge it:
 * identity_set() alone sets it, and is called only for a key that has just
 * been verified.  It ends with the transaction, however that ends, so nothing
 * is left for the next user of a pooled connection.
 *
 * It follows savepoints as settings do.  A subtransaction that changes it
 * saves the previous one first: ROLLBACK TO restores that, RELEASE retains the
 * change.  The identity is still set for what runs at commit (deferred
 * triggers, queries of cursors WITH HOLD), and is cleared before the commit is
 * acknowledged.
 *
 * All of it is in TopTransactionContext.  Each identity has a memory context
 * of its own, so that a transaction does not grow with repeated logins.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "model/permissions.h"
#include "verify/identity.h"

typedef struct Identity
{
	MemoryContext context;		/* contains all of this */
	pg_uuid_t  *uuids[IDENTITY_NUUIDS]; /* NULL: the key has none */
	text	   *external_id;	/* NULL: the key has none */
	Jsonb	   *document;		/* of the permissions */
	Permissions *permissions;	/* parsed; NULL: not needed so far */
} Identity;

/* The identity before a subtransaction changed it. */
typedef struct Saved
{
	SubTransactionId subid;
	Identity   *identity;		/* NULL: none */
	struct Saved *outer;		/* of an enclosing subtransaction */
} Saved;

static const KeyColumn uuid_columns[IDENTITY_NUUIDS] = {
	[IDENTITY_ID] = KEY_ID,
	[IDENTITY_ROOT_ID] = KEY_ROOT_ID,
	[IDENTITY_USER_ID] = KEY_USER_ID,
	[IDENTITY_TEAM_ID] = KEY_TEAM_ID,
};

static Identity *current = NULL;
static Saved *saved = NULL;

/* Frees an identity that is not referenced any more. */
static void
free_identity(Identity *identity)
{
	if (identity != NULL)
		MemoryContextDelete(identity->context);
}

/* Removes the innermost of the saved identities; returns it. */
static Identity *
pop_saved(void)
{
	Saved	   *top = saved;
	Identity   *identity = top->identity;

	saved = top->outer;
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

/* Retains the change of a subtransaction that commits, undoes that of another. */
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
	else if (saved->outer != NULL && saved->outer->subid == parent)
		free_identity(pop_saved());
	else
		saved->subid = parent;
}

/* Replaces the current identity by another one, or by none. */
static void
replace(Identity *identity)
{
	SubTransactionId subid = GetCurrentSubTransactionId();

	Assert(IsTransactionState());
	Assert(saved == NULL || saved->subid <= subid);

	if (saved != NULL && saved->subid == subid)
		free_identity(current);
	else
	{
		Saved	   *top = MemoryContextAlloc(TopTransactionContext, sizeof(Saved));

		top->subid = subid;
		top->identity = current;
		top->outer = saved;
		saved = top;
	}
	current = identity;
}

/*
 * Sets the identity of the transaction to a key, which the caller has just
 * verified.
 */
void
identity_set(const KeyRow *row)
{
	MemoryContext memory = AllocSetContextCreate(TopTransactionContext, "apikeys identity",
												 ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(memory);
	Identity   *identity = palloc0(sizeof(Identity));

	Assert(!row->nulls[KEY_ID] && !row->nulls[KEY_PERMISSIONS]);
	Assert(current == NULL && !InSecurityRestrictedOperation());
	identity->context = memory;
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

/*
 * Ends the identity of the transaction; every login begins with that.  Raises
 * 42501 while the server runs code of a table's owner for somebody else, as it
 * refuses SET ROLE there: ANALYZE of a table with a function in an index, for
 * example, must not leave its caller logged in with the owner's key.
 */
void
identity_clear(void)
{
	if (InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot log in or out within a security-restricted operation")));

	if (current != NULL)
		replace(NULL);
}

/* Returns an id of the identity; NULL if that has none, or there is none. */
const pg_uuid_t *
identity_uuid(IdentityUuid which)
{
	return current != NULL ? current->uuids[which] : NULL;
}

/* Returns the external id of the identity, or NULL likewise. */
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
		MemoryContext old = MemoryContextSwitchTo(current->context);
		Permissions *permissions = palloc0(sizeof(Permissions));

		permissions_parse(current->document, permissions);
		current->permissions = permissions;
		MemoryContextSwitchTo(old);
	}

	return current->permissions->is_admin ||
		   patterns_match(current->permissions->custom_permissions, name);
}
