/*-------------------------------------------------------------------------
 *
 * grants.h
 *	  The statements that grant rights on the extension's objects.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_GRANTS_H
#define APIKEYS_STORE_GRANTS_H

#include "utils/array.h"
#include "utils/timestamp.h"

/* Rights to be granted to a role or revoked from it. */
typedef struct Grant
{
	Oid			role;
	const char *access;			/* level, for the event */
	ArrayType  *functions;		/* text[]: names of those for EXECUTE */
	ArrayType  *views;			/* text[]: names of those for SELECT */
	bool		interface;		/* are functions of the interface among them? */
	bool		schema;			/* is anything in the schema apikeys? */
	bool		revoke;
} Grant;

extern void store_change_grant(const Grant *grant, TimestampTz now);

#endif							/* APIKEYS_STORE_GRANTS_H */
