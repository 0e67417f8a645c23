/*-------------------------------------------------------------------------
 *
 * missing_secrets.c
 *	  Which missing HMAC secrets have been logged already.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A secret is missing if live keys are hashed with it and it is not in the
 * file of secrets.  Names of missing secrets are remembered here, so that each
 * is logged once by the server, not once by each backend.  A secret that is
 * no longer missing is removed, so it is logged again if it gets lost again.
 *
 * One LWLock guards the names; only memory is compared and copied under it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "storage/lwlock.h"

#include "base/shmem.h"
#include "live/missing_secrets.h"
#include "settings/hmac_secrets.h"

#define MAX_MISSING		64		/* in all databases; more are logged repeatedly */

typedef struct MissingSecret
{
	Oid			database;		/* InvalidOid: free */
	char		name[NAMEDATALEN * 4]; /* hash_secret may have 63 characters */
} MissingSecret;

typedef struct MissingSecrets
{
	ShmemHeader header;
	LWLock		lock;
	MissingSecret secrets[MAX_MISSING];
} MissingSecrets;

StaticAssertDecl(sizeof(((MissingSecret *) NULL)->name) > HMAC_SECRET_NAME_MAX_LEN * MAX_MULTIBYTE_CHAR_LEN,
				 "each name of a secret fits, in each encoding");
StaticAssertDecl(MISSING_SECRETS_MAX <= MAX_MISSING,
				 "the secrets of one call fit");

static Size
missing_size(void)
{
	return sizeof(MissingSecrets);
}

static void
missing_init_shared(void *address)
{
	MissingSecrets *missing = address;

	LWLockInitialize(&missing->lock, missing->header.tranche_id);
}

static ShmemSegment segment = {
	.name = "apikeys missing secrets",
	.size = missing_size,
	.init = missing_init_shared,
};

void
missing_secrets_init(void)
{
	shmem_add(&segment);
}

/* Attaches shared memory now, so that removing a database cannot fail. */
bool
missing_secrets_attach(void)
{
	return shmem_attach(&segment) != NULL;
}

static bool
is_secret(const MissingSecret *secret, Oid database, const char *name)
{
	return secret->database == database && strcmp(secret->name, name) == 0;
}

/*
 * Removes the secrets of a database that are no longer missing; of those that
 * are, sets newly_missing to false for the ones that were known.
 */
static void
remove_found(MissingSecret *secrets, Oid database, char *const *names, int n,
			 bool *newly_missing)
{
	for (int m = 0; m < MAX_MISSING; m++)
	{
		bool		still_missing = false;

		for (int i = 0; i < n; i++)
		{
			if (is_secret(&secrets[m], database, names[i]))
			{
				newly_missing[i] = false;
				still_missing = true;
			}
		}
		if (secrets[m].database == database && !still_missing)
			secrets[m].database = InvalidOid;
	}
}

/* Adds a secret, if there is space. */
static void
add_missing(MissingSecret *secrets, Oid database, const char *name)
{
	for (int m = 0; m < MAX_MISSING; m++)
	{
		if (OidIsValid(secrets[m].database))
			continue;
		secrets[m].database = database;
		strlcpy(secrets[m].name, name, sizeof(secrets[m].name));
		return;
	}
}

static void
exchange(MissingSecret *secrets, Oid database, char *const *names, int n, bool *newly_missing)
{
	for (int i = 0; i < n; i++)
		newly_missing[i] = true;

	remove_found(secrets, database, names, n, newly_missing);
	for (int i = 0; i < n; i++)
	{
		if (newly_missing[i])
			add_missing(secrets, database, names[i]);
	}
}

/*
 * Stores the names of all secrets that are missing in a database now, and
 * sets newly_missing for those that were not stored before.  Without shared
 * memory they are stored for this backend alone.
 */
void
missing_secrets_exchange(Oid database, char *const *names, int n, bool *newly_missing)
{
	static MissingSecret local[MAX_MISSING];
	MissingSecrets *missing = shmem_attach(&segment);

	Assert(OidIsValid(database));
	Assert(n >= 0 && n <= MISSING_SECRETS_MAX);

	if (missing == NULL)
	{
		exchange(local, database, names, n, newly_missing);
		return;
	}

	LWLockAcquire(&missing->lock, LW_EXCLUSIVE);
	exchange(missing->secrets, database, names, n, newly_missing);
	LWLockRelease(&missing->lock);
}

/* Removes all secrets of a database that is dropped, or no longer has apikeys. */
void
missing_secrets_remove_database(Oid database)
{
	missing_secrets_exchange(database, NULL, 0, NULL);
}
