/*-------------------------------------------------------------------------
 *
 * random.c
 *	  Random numbers that nobody can guess.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/random.h"

/* Fills n bytes.  At a server's start an error ends that, so it says what to do. */
void
random_fill(void *bytes, Size n)
{
	if (!pg_strong_random(bytes, n))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random numbers"),
				 errdetail("Without them apikeys neither starts nor makes keys."),
				 errhint("See why the random number generator of OpenSSL, or of the operating system, has failed, and try again.")));
}
