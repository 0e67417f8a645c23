/*-------------------------------------------------------------------------
 *
 * reservation_id.c
 *	  Ids of reservations, which nobody can guess.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * An id is a UUID of version 4 (RFC 9562), but for its first 32 bits, which say
 * where the reservation is held.  The other 90 are random: at a million guesses
 * a second one in 2^45 is found in a year.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "port/pg_bswap.h"

#include "base/random.h"
#include "model/reservation_id.h"

#define HOLD_BYTES		4
#define SUPPLY_BYTES	(64 * UUID_LEN)

/*
 * Fills id with random bytes, of which a supply is kept: to get some takes as
 * long for many as for few.  No process forks that has used this.
 */
static void
fill_with_random(pg_uuid_t *id)
{
	static unsigned char supply[SUPPLY_BYTES];
	static int	nleft = 0;

	if (nleft == 0)
	{
		random_fill(supply, sizeof(supply));
		nleft = sizeof(supply);
	}
	nleft -= UUID_LEN;
	memcpy(id->data, supply + nleft, UUID_LEN);
}

/* Generates an id; where it is held has to be set, and that cannot fail. */
void
reservation_id_generate(pg_uuid_t *id)
{
	fill_with_random(id);
	id->data[6] = (id->data[6] & 0x0f) | 0x40; /* version */
	id->data[8] = (id->data[8] & 0x3f) | 0x80; /* variant */
}

/* Sets where a reservation is held. */
void
reservation_id_set_hold(pg_uuid_t *id, int hold)
{
	uint32		index = pg_hton32((uint32) hold);

	Assert(hold >= 0);
	memcpy(id->data, &index, HOLD_BYTES);
}

/* Returns where a reservation is held, a number that anyone may have made up. */
int
reservation_id_hold(const pg_uuid_t *id)
{
	uint32		index;

	memcpy(&index, id->data, HOLD_BYTES);
	index = pg_ntoh32(index);
	return index <= PG_INT32_MAX ? (int) index : -1;
}
