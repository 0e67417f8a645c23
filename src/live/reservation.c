/*-------------------------------------------------------------------------
 *
 * reservation.c
 *	  Reservations: found, settled when a transaction commits, given back.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A reservation is made by rate_limiter.c: a chain of holds, each guarded by
 * the lock of its owner's partition.  Whoever follows a chain locks one
 * partition at a time, and finds by the id that the next hold is still one of
 * this reservation.
 *
 * A transaction that records usage claims the reservation, so that it neither
 * times out nor is settled twice meanwhile, and settles it when it commits.  If
 * it is rolled back, the reservation stands.  So it does if the transaction is
 * prepared, since COMMIT PREPARED runs none of our code: its tokens are settled
 * then, and its cost stays reserved until it times out.
 *
 * At the commit the partitions of all claimed holds are locked, in the order of
 * their numbers, before budget_spend.c publishes the costs, until the holds have
 * ended: so nobody sees a cost and its reservation together, or neither.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "base/transaction_array.h"
#include "live/reservation.h"
#include "model/reservation_id.h"

/* A reservation that this transaction has claimed. */
typedef struct Claim
{
	pg_uuid_t	id;
	int			nholds;
	int			holds[MAX_LIMIT_OWNERS]; /* not all may be held any more */
	TrackedPartitionSet partitions; /* of the holds */
	int64		tokens;			/* that were used */
	int64		cost;			/* likewise, in billionths */
	SubTransactionId subid;		/* grows from one to the next */
} Claim;

/* Those of this transaction, in TopTransactionContext. */
static Claim *claims = NULL;
static int	nclaims = 0;
static int	max_claims = 0;

/* The partitions that are locked while a transaction commits. */
static TrackedPartitionSet locked_partitions = 0;

/* What to do with a hold, under the exclusive lock of its partition. */
typedef bool (*HoldAction)(const TrackedKeyRef *ref, TrackedKey *entry, int hold, TimestampTz now,
						   void *arg);

/* ------------------------------------------------------------ the holds */

/*
 * Finds the partition of a hold; false if there is none.  Without the lock: it
 * has to be checked again with it.
 */
static bool
locate_hold(TrackedKeys *table, int hold, TrackedKeyRef *ref)
{
	int			p;

	if (table == NULL || hold < 0 || hold >= tracked_keys_nholds(table))
		return false;

	p = ((volatile Hold *) tracked_keys_holds(table))[hold].partition;
	if (p == NO_PARTITION)
		return false;

	*ref = tracked_keys_partition(table, p);
	return true;
}

/* Is a hold one of a reservation, that has not timed out?  Exclusive lock. */
static bool
is_held(const TrackedKeyRef *ref, int hold, const pg_uuid_t *id, TimestampTz now)
{
	const Hold *held = &ref->pools.holds[hold];

	return held->partition == ref->number &&
		   memcmp(&held->reservation, id, sizeof(pg_uuid_t)) == 0 &&
		   (held->settling || now - held->reserved_at < tracked_limits_timeout());
}

/*
 * Calls an action for a hold, if it is one of this reservation and database, and
 * returns what that returns, and the next hold of the reservation.
 */
static bool
act_on_hold(const pg_uuid_t *id, int hold, TimestampTz now, HoldAction action, void *arg, int *next)
{
	TrackedKeyRef ref;
	bool		locked_before;
	bool		done = false;

	*next = NO_HOLD;
	if (!locate_hold(tracked_keys_attach(), hold, &ref))
		return false;

	/* While some are locked, no other is: their order would be wrong. */
	locked_before = (locked_partitions >> ref.number) & 1;
	if (locked_partitions != 0 && !locked_before)
		return false;
	if (!locked_before)
		tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	if (is_held(&ref, hold, id, now))
	{
		TrackedKey *entry = &ref.entries[ref.pools.holds[hold].owner];

		*next = ref.pools.holds[hold].next;
		done = entry->tag.database == MyDatabaseId && action(&ref, entry, hold, now, arg);
	}
	if (!locked_before)
		tracked_keys_unlock(ref.partition);

	return done;
}

/* Calls an action for each hold of a reservation; false if the first has none. */
static bool
for_each_hold(const pg_uuid_t *id, HoldAction action, void *arg)
{
	TimestampTz now = GetCurrentTimestamp();
	int			hold = reservation_id_hold(id);
	bool		found = act_on_hold(id, hold, now, action, arg, &hold);
	bool		go_on = found;

	while (go_on && hold != NO_HOLD)
		go_on = act_on_hold(id, hold, now, action, arg, &hold);
	return found;
}

/* Calls an action for each hold of a claim. */
static void
for_each_claimed(Claim *claim, HoldAction action)
{
	TimestampTz now = GetCurrentTimestamp();
	int			next;

	for (int i = 0; i < claim->nholds; i++)
		(void) act_on_hold(&claim->id, claim->holds[i], now, action, claim, &next);
}

/* HoldAction: adds the part to the Reservation at arg, unless it is claimed. */
static bool
copy_part(const TrackedKeyRef *ref, TrackedKey *entry, int hold, TimestampTz now, void *arg)
{
	Reservation *reservation = arg;
	const Hold *held = &ref->pools.holds[hold];

	if (held->settling)
		return false;
	Assert(reservation->nparts < MAX_LIMIT_OWNERS);
	reservation->parts[reservation->nparts].owner = entry->tag.id;
	reservation->parts[reservation->nparts].windows = tracked_limits_reserving(&ref->pools, &entry->limits, hold);
	reservation->nparts++;
	reservation->reserved_at = held->reserved_at;
	return true;
}

/* Finds out what a reservation of this database holds. */
void
reservation_find(const pg_uuid_t *id, Reservation *reservation)
{
	reservation->nparts = 0;
	(void) for_each_hold(id, copy_part, reservation);
}

/* HoldAction: ends a hold that nobody has claimed. */
static bool
release_hold(const TrackedKeyRef *ref, TrackedKey *entry, int hold, TimestampTz now, void *arg)
{
	if (ref->pools.holds[hold].settling)
		return false;
	tracked_limits_end_hold(&ref->pools, &entry->limits, hold, 0, 0, now);
	return true;
}

/* Gives a reservation back; false if this database has none with this id. */
bool
reservation_release(const pg_uuid_t *id)
{
	return for_each_hold(id, release_hold, NULL);
}

/* Returns what is reserved of a budget, in billionths. */
int64
reservation_reserved(const pg_uuid_t *budget_id)
{
	TrackedKeys *table = tracked_keys_attach();
	TrackedKeyRef ref;
	TrackedKey *entry;
	int64		reserved = 0;

	if (table == NULL)
		return 0;

	ref = tracked_keys_locate(table, MyDatabaseId, budget_id);
	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	entry = tracked_keys_find(&ref);
	if (entry != NULL)
	{
		tracked_limits_expire(&ref.pools, &entry->limits, GetCurrentTimestamp());
		reserved = entry->limits.holds.cost;
	}
	tracked_keys_unlock(ref.partition);

	return reserved;
}

/* --------------------------------------------------------------- claims */

/* HoldAction: adds a hold to the Claim at arg, unless it has been claimed. */
static bool
claim_hold(const TrackedKeyRef *ref, TrackedKey *entry, int hold, TimestampTz now, void *arg)
{
	Claim	   *claim = arg;
	Hold	   *held = &ref->pools.holds[hold];

	if (held->settling)
		return false;
	held->settling = true;
	Assert(claim->nholds < MAX_LIMIT_OWNERS);
	claim->holds[claim->nholds++] = hold;
	claim->partitions |= UINT64CONST(1) << ref->number;
	return true;
}

/* HoldAction: gives up the claim. */
static bool
give_up(const TrackedKeyRef *ref, TrackedKey *entry, int hold, TimestampTz now, void *arg)
{
	ref->pools.holds[hold].settling = false;
	return true;
}

/*
 * Claims a reservation, to settle it with what was used when this transaction
 * commits; cost is in billionths.  False if it is not held (any more).
 */
bool
reservation_claim(const pg_uuid_t *id, int64 tokens, int64 cost)
{
	Claim	   *claim;

	Assert(IsTransactionState() && tokens >= 0 && cost >= 0);
	claims = transaction_array_grow(claims, nclaims, &max_claims, sizeof(Claim));
	claim = &claims[nclaims];
	claim->nholds = 0;
	claim->partitions = 0;
	if (!for_each_hold(id, claim_hold, claim))
		return false;

	nclaims++;
	claim->id = *id;
	claim->tokens = tokens;
	claim->cost = cost;
	claim->subid = GetCurrentSubTransactionId();
	return true;
}

/* Gives up the claim that was made last. */
void
reservation_give_up_claim(void)
{
	Assert(nclaims > 0);
	for_each_claimed(&claims[--nclaims], give_up);
}

/*
 * Locks what the claims hold, until reservation_at_eoxact().  To be called when
 * the transaction has committed, before budget_spend.c publishes its costs.
 */
void
reservation_before_publish(void)
{
	TrackedPartitionSet partitions = 0;

	for (int i = 0; i < nclaims; i++)
		partitions |= claims[i].partitions;
	if (partitions != 0)
		tracked_keys_lock_all(tracked_keys_attach(), partitions);
	locked_partitions = partitions;
}

/* HoldAction: ends a hold with what the Claim at arg has used. */
static bool
settle_hold(const TrackedKeyRef *ref, TrackedKey *entry, int hold, TimestampTz now, void *arg)
{
	const Claim *claim = arg;

	tracked_limits_end_hold(&ref->pools, &entry->limits, hold, claim->tokens, claim->cost, now);
	return true;
}

/* Even if none is left: their memory ends with the transaction. */
static void
clear_claims(void)
{
	claims = NULL;				/* freed with the transaction's memory */
	nclaims = max_claims = 0;
}

/* Settles the reservations of a transaction that has committed, or leaves them. */
void
reservation_at_eoxact(bool is_commit)
{
	for (int i = 0; i < nclaims; i++)
		for_each_claimed(&claims[i], is_commit ? settle_hold : give_up);
	if (locked_partitions != 0)
		tracked_keys_unlock_all(tracked_keys_attach(), locked_partitions);
	locked_partitions = 0;

	/* Also where none was successful: there may be space for them. */
	clear_claims();
}

/* HoldAction: settles the windows of a hold, and leaves the rest of it. */
static bool
settle_windows(const TrackedKeyRef *ref, TrackedKey *entry, int hold, TimestampTz now, void *arg)
{
	const Claim *claim = arg;

	tracked_limits_settle_windows(&ref->pools, &entry->limits, hold, claim->tokens, claim->cost, now);
	ref->pools.holds[hold].settling = false;
	return true;
}

/* Settles what can be settled of a transaction that is prepared. */
void
reservation_at_prepare(void)
{
	for (int i = 0; i < nclaims; i++)
		for_each_claimed(&claims[i], settle_windows);
	clear_claims();
}

/*
 * Gives up the claims of the subtransaction that aborts, and of those within
 * it, which have higher ids.
 */
void
reservation_at_subxact_abort(SubTransactionId subid)
{
	while (nclaims > 0 && claims[nclaims - 1].subid >= subid)
		for_each_claimed(&claims[--nclaims], give_up);
}
