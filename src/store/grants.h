/*-------------------------------------------------------------------------
 *
 * grants.h
 *	  The statements that hand out rights on the extension's objects.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_GRANTS_H
#define APIKEYS_STORE_GRANTS_H

#include "utils/array.h"
#include "utils/timestamp.h"

/* What a role is to have, or to have no longer. */
typedef struct Grant
{
	Oid			role;
	const char *access;			/* level, for the event */
	ArrayType  *functions;		/* text[]: names of those to call */
	ArrayType  *views;			/* text[]: names of those to read */
	bool		revoke;
} Grant;

extern void store_change_grant(const Grant *grant, TimestampTz now);

#endif							/* APIKEYS_STORE_GRANTS_H */
