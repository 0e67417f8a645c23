/*-------------------------------------------------------------------------
 *
 * shared_keys.c
 *	  A cache of keys that all backends share.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * What is found here is exact by its stamp alone: see changes.c.  So an entry may
 * be lost, stored twice in a row, or outlive its key; the next who looks for it
 * reads the table and stores it again.
 *
 * The memory is divided into partitions, each with an LWLock, taken in shared
 * mode to find an entry, in exclusive mode to store one.  A process has one of
 * them at a time, and does nothing under it but compare and copy.
 *
 * A partition consists of blocks of 128 bytes.  An entry takes as many as it
 * needs, linked by their indexes, so there are no pointers and nothing gets
 * fragmented.  Raw keys are not stored, only what the table has as well: their
 * hashes with an HMAC secret.  For which chain an entry is in, a seed is mixed in
 * that nobody can read: who can make keys could make a chain very long.
 *
 * Keys that are used once must not drive out those that are used all the time.  So
 * a new entry is on probation: it is among the tenth of the blocks that are
 * evicted first, in the order of a clock's hand, and stays only if it has been
 * used again by then.  Other entries are evicted by a second hand, which passes
 * an entry once for each time that it was used since, up to three.  What is
 * evicted on probation is remembered for a while, by 32 bits of its hash; if it
 * is back by then, it is used often enough to skip the probation.  This is the
 * S3-FIFO algorithm, with hands in place of queues.  Unknown keys are never
 * stored.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "base/compat.h"
#include "base/random.h"
#include "base/shmem.h"
#include "cache/shared_keys.h"
#include "settings/guc.h"

#define BLOCK_SIZE			128
#define PARTITION_SIZE		(256 * 1024)	/* bytes, but for the last */
#define BLOCKS_PER_CHAIN	4		/* about as many as an entry has */
#define PROBATION_SHARE		10		/* a tenth */
#define NONE				(-1)

/* An entry begins with this; its row follows in the same block, and in the next. */
typedef struct EntryHead
{
	SharedKeyTag tag;
	int			next;			/* in the chain; NONE: the last */
	SharedKey	key;
} EntryHead;

#define BLOCK_SPACE	(BLOCK_SIZE - sizeof(int))

typedef union Block
{
	EntryHead	head;			/* of an entry's first block */
	struct
	{
		char		data[BLOCK_SPACE];
		int			next;		/* of the entry, or of those that are free */
	};
} Block;

StaticAssertDecl(sizeof(Block) == BLOCK_SIZE && sizeof(EntryHead) <= BLOCK_SPACE,
				 "an entry begins in one block");

/* Of the block in which an entry begins; others have 0. */
#define STATE_ENTRY		0x01
#define STATE_PROVEN	0x02	/* not on probation */
#define STATE_USE		0x04	/* for each use since a hand has passed */
#define STATE_MAX		(STATE_ENTRY | STATE_PROVEN | 3 * STATE_USE)

typedef struct Partition
{
	LWLock		lock;
	int			first_free;		/* block */
	int			nfree;
	int			nprobation;		/* blocks of entries on probation */
	int			nentries;
	int			hand_on_probation;
	int			hand;			/* of the others */
	uint64		evictions;
} Partition;

typedef union PaddedPartition
{
	Partition	partition;
	char		padding[PG_CACHE_LINE_SIZE];
} PaddedPartition;

/* Followed by the partitions, their blocks, chains, remembered hashes and states. */
typedef struct SharedKeys
{
	ShmemHeader header;
	int			npartitions;	/* constant, as the others */
	int			nblocks;		/* of each partition */
	int			nchains;
	uint32		seed;
} SharedKeys;

#define HEADER_SIZE	TYPEALIGN(PG_CACHE_LINE_SIZE, sizeof(SharedKeys))

/* A partition, and what belongs to it. */
typedef struct Part
{
	Partition  *partition;
	Block	   *blocks;
	int		   *chains;			/* first blocks of their first entries */
	uint32	   *evicted;		/* remembered, by the chains they were in */
	uint8	   *states;			/* of blocks */
} Part;

/* --------------------------------------------------------------- layout */

static Size
memory_size(void)
{
	return mul_size(guc_cache_memory, 1024) - changes_size();
}

static int
count_partitions(void)
{
	return Max(memory_size() / PARTITION_SIZE, 1);
}

static int
count_blocks(void)
{
	Size		size = memory_size() / count_partitions() - sizeof(PaddedPartition);

	return size / (BLOCKS_PER_CHAIN * (BLOCK_SIZE + sizeof(uint8)) + sizeof(int) + sizeof(uint32)) * BLOCKS_PER_CHAIN;
}

static Size
keys_size(void)
{
	return guc_cache_memory > 0 ? HEADER_SIZE + memory_size() : HEADER_SIZE;
}

static Part
get_part(SharedKeys *keys, int p)
{
	Part		part;
	PaddedPartition *partitions = (PaddedPartition *) ((char *) keys + HEADER_SIZE);
	Block	   *blocks = (Block *) (partitions + keys->npartitions);
	int		   *chains = (int *) (blocks + keys->npartitions * keys->nblocks);
	uint32	   *evicted = (uint32 *) (chains + keys->npartitions * keys->nchains);
	uint8	   *states = (uint8 *) (evicted + keys->npartitions * keys->nchains);

	part.partition = &partitions[p].partition;
	part.blocks = blocks + p * keys->nblocks;
	part.chains = chains + p * keys->nchains;
	part.evicted = evicted + p * keys->nchains;
	part.states = states + p * keys->nblocks;
	return part;
}

static void
init_part(SharedKeys *keys, int p)
{
	Part		part = get_part(keys, p);

	LWLockInitialize(&part.partition->lock, keys->header.tranche_id);
	for (int i = 0; i < keys->nchains; i++)
		part.chains[i] = NONE;
	for (int i = 0; i < keys->nblocks; i++)
		part.blocks[i].next = i + 1 < keys->nblocks ? i + 1 : NONE;
	part.partition->first_free = 0;
	part.partition->nfree = keys->nblocks;
}

static void
keys_init_shared(void *address)
{
	SharedKeys *keys = address;

	if (guc_cache_memory == 0)
		return;
	keys->npartitions = count_partitions();
	keys->nblocks = count_blocks();
	keys->nchains = keys->nblocks / BLOCKS_PER_CHAIN;
	random_fill(&keys->seed, sizeof(keys->seed));
	for (int p = 0; p < keys->npartitions; p++)
		init_part(keys, p);
}

static ShmemSegment segment = {
	.name = "apikeys cache",
	.size = keys_size,
	.init = keys_init_shared,
};

void
shared_keys_init(void)
{
	shmem_add(&segment);
}

static SharedKeys *
attached(void)
{
	Assert(segment.address != NULL && guc_cache_memory > 0);
	return (SharedKeys *) segment.address;
}

/* -------------------------------------------------------------- entries */

static uint32
hash_of(const SharedKeyTag *tag)
{
	uint32		bits;

	memcpy(&bits, tag->hash, sizeof(bits));
	return murmurhash32(bits ^ attached()->seed);
}

static Part
part_of(uint32 hash)
{
	return get_part(attached(), hash % attached()->npartitions);
}

static int
chain_of(uint32 hash)
{
	return hash / attached()->npartitions % attached()->nchains;
}

/* Returns where an entry is linked: its index, or NONE, is what this points to. */
static int *
search(const Part *part, const SharedKeyTag *tag, uint32 hash)
{
	int		   *link = &part->chains[chain_of(hash)];

	while (*link != NONE && memcmp(&part->blocks[*link].head.tag, tag, sizeof(SharedKeyTag)) != 0)
		link = &part->blocks[*link].head.next;
	return link;
}

static int
count_entry_blocks(const SharedKey *key)
{
	return (sizeof(EntryHead) + key->size + BLOCK_SPACE - 1) / BLOCK_SPACE;
}

/* Copies a row from or to the blocks of an entry. */
static void
copy_row(const Part *part, int block, char *row, Size size, bool store)
{
	Size		offset = sizeof(EntryHead);

	for (Size done = 0; done < size; block = part->blocks[block].next, offset = 0)
	{
		Size		n = Min(BLOCK_SPACE - offset, size - done);

		if (store)
			memcpy(part->blocks[block].data + offset, row + done, n);
		else
			memcpy(row + done, part->blocks[block].data + offset, n);
		done += n;
	}
}

/* Removes the entry that is linked here; returns its state. */
static uint8
remove_entry(const Part *part, int *link)
{
	Partition  *partition = part->partition;
	int			first = *link;
	int			nblocks = count_entry_blocks(&part->blocks[first].head.key);
	int			last = first;
	uint8		state = part->states[first];

	*link = part->blocks[first].head.next;
	part->states[first] = 0;
	for (int i = 1; i < nblocks; i++)
		last = part->blocks[last].next;
	part->blocks[last].next = partition->first_free;
	partition->first_free = first;
	partition->nfree += nblocks;
	partition->nentries--;
	if (!(state & STATE_PROVEN))
		partition->nprobation -= nblocks;
	return state;
}

/* Adds an entry, for which there must be space. */
static void
add_entry(const Part *part, const SharedKeyTag *tag, uint32 hash, const SharedKey *key,
		  const char *row, uint8 state)
{
	Partition  *partition = part->partition;
	int			nblocks = count_entry_blocks(key);
	int			first = partition->first_free;
	int			last = first;
	EntryHead  *head = &part->blocks[first].head;

	Assert(nblocks <= partition->nfree);
	for (int i = 1; i < nblocks; i++)
		last = part->blocks[last].next;
	partition->first_free = part->blocks[last].next;
	partition->nfree -= nblocks;
	partition->nentries++;
	if (!(state & STATE_PROVEN))
		partition->nprobation += nblocks;

	head->tag = *tag;
	head->key = *key;
	head->next = part->chains[chain_of(hash)];
	part->chains[chain_of(hash)] = first;
	part->states[first] = state;
	copy_row(part, first, unconstify(char *, row), key->size, true);
}

/* ------------------------------------------------------------- eviction */

/* Moves a hand to the next entry that is on probation, or that is not. */
static int
next_entry(const Part *part, int *hand, uint8 wanted)
{
	do
		*hand = (*hand + 1) % attached()->nblocks;
	while ((part->states[*hand] & (STATE_ENTRY | STATE_PROVEN)) != (STATE_ENTRY | wanted));
	return *hand;
}

static void
evict(const Part *part, int block)
{
	const SharedKeyTag *tag = &part->blocks[block].head.tag;
	uint32		hash = hash_of(tag);

	if (!(part->states[block] & STATE_PROVEN))
		part->evicted[chain_of(hash)] = hash;
	(void) remove_entry(part, search(part, tag, hash));
	part->partition->evictions++;
}

/*
 * Takes a step towards free blocks: evicts an entry, takes one off probation, or
 * counts a use off.
 */
static void
make_space(const Part *part)
{
	Partition  *partition = part->partition;
	int			nproven = attached()->nblocks - partition->nfree - partition->nprobation;
	uint8	   *state;
	int			block;

	Assert(partition->nentries > 0);
	if (nproven > 0 && partition->nprobation <= attached()->nblocks / PROBATION_SHARE)
	{
		block = next_entry(part, &partition->hand, STATE_PROVEN);
		state = &part->states[block];
		if (*state >= STATE_USE)
			*state -= STATE_USE;
		else
			evict(part, block);
		return;
	}

	block = next_entry(part, &partition->hand_on_probation, 0);
	state = &part->states[block];
	if (*state >= STATE_USE)
	{
		*state = STATE_ENTRY | STATE_PROVEN;
		partition->nprobation -= count_entry_blocks(&part->blocks[block].head.key);
	}
	else
		evict(part, block);
}

/* -------------------------------------------------------------- the cache */

/*
 * Finds what is stored of a key and is still true.  row has space for
 * SHARED_ROW_MAX_SIZE.
 */
bool
shared_keys_find(const SharedKeyTag *tag, SharedKey *key, char *row)
{
	uint32		hash = hash_of(tag);
	Part		part = part_of(hash);
	int			block;
	bool		found;

	LWLockAcquire(&part.partition->lock, LW_SHARED);
	block = *search(&part, tag, hash);
	found = block != NONE && changes_stamp_is_current(&part.blocks[block].head.key.stamp);
	if (found)
	{
		*key = part.blocks[block].head.key;
		copy_row(&part, block, row, key->size, false);

		/* Two at once may count one use: no harm is done. */
		if (part.states[block] + STATE_USE <= STATE_MAX)
			part.states[block] += STATE_USE;
	}
	LWLockRelease(&part.partition->lock);

	return found;
}

/* Stores a key, in place of what is stored of it. */
void
shared_keys_store(const SharedKeyTag *tag, const SharedKey *key, const char *row)
{
	uint32		hash = hash_of(tag);
	Part		part = part_of(hash);
	int			nblocks = count_entry_blocks(key);
	uint8		state = STATE_ENTRY;
	int		   *link;

	if (nblocks > attached()->nblocks / PROBATION_SHARE)
		return;

	LWLockAcquire(&part.partition->lock, LW_EXCLUSIVE);
	link = search(&part, tag, hash);
	if (*link != NONE)
		state = remove_entry(&part, link);
	else if (part.evicted[chain_of(hash)] == hash)
		state |= STATE_PROVEN;
	while (part.partition->nfree < nblocks)
		make_space(&part);
	add_entry(&part, tag, hash, key, row, state);
	LWLockRelease(&part.partition->lock);
}

/* What the cache holds, and what it has evicted; false if there is none. */
bool
shared_keys_read_fill(SharedKeysFill *fill)
{
	memset(fill, 0, sizeof(SharedKeysFill));
	if (!shmem_preloaded() || guc_cache_memory == 0)
		return false;

	for (int p = 0; p < attached()->npartitions; p++)
	{
		Part		part = get_part(attached(), p);

		LWLockAcquire(&part.partition->lock, LW_SHARED);
		fill->entries += part.partition->nentries;
		fill->bytes += (uint64) (attached()->nblocks - part.partition->nfree) * BLOCK_SIZE;
		fill->evictions += part.partition->evictions;
		LWLockRelease(&part.partition->lock);
	}
	return true;
}
