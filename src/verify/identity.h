/*-------------------------------------------------------------------------
 *
 * identity.h
 *	  The key with which the running transaction has logged in.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_VERIFY_IDENTITY_H
#define APIKEYS_VERIFY_IDENTITY_H

#include "utils/uuid.h"

#include "store/keys.h"

typedef enum IdentityUuid
{
	IDENTITY_ID,
	IDENTITY_ROOT_ID,
	IDENTITY_USER_ID,
	IDENTITY_TEAM_ID,
	IDENTITY_NUUIDS
} IdentityUuid;

extern void identity_set(const KeyRow *row);
extern void identity_clear(void);
extern const pg_uuid_t *identity_uuid(IdentityUuid which);
extern const text *identity_external_id(void);
extern bool identity_has_permission(const text *name);

/* for hooks/transaction.c */
extern void identity_at_eoxact(void);
extern void identity_at_eosubxact(bool is_commit, SubTransactionId subid,
								  SubTransactionId parent);

#endif							/* APIKEYS_VERIFY_IDENTITY_H */
