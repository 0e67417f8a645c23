/*-------------------------------------------------------------------------
 *
 * hmac_secrets.c
 *	  The HMAC secrets, as this process has read them from their file.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The secrets are only in the local memory of processes: not in shared memory,
 * not in the setting, which names the file, nor in its extra data, and not in
 * the errors about a rejected file.  Replaced secrets are wiped.
 *
 * There are two sets.  The set in use is the file's content at the last
 * reload; its first secret hashes new keys, and a key is looked up under all of
 * them.  A backend in a long statement has not reloaded yet when others have,
 * and may be given a key that they have hashed with a secret unknown to it.  So
 * a backend that does not find a key checks whether the file has changed, and
 * reads the new secrets into a second set, under which keys are looked up but
 * never hashed, until the reload.
 *
 * A rejected file changes nothing.  The file is opened once and read whole, so
 * that what was checked is what is used.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/fd.h"

#include "base/compat.h"
#include "base/random.h"
#include "model/key_hash.h"
#include "settings/hmac_secrets.h"

#define FILE_MAX_SIZE	32768

StaticAssertDecl(offsetof(HmacSecret, value.data) - offsetof(HmacSecret, value) == VARHDRSZ &&
					 offsetof(HmacSecret, value) % sizeof(int32) == 0,
				 "the value must be laid out as a bytea");

/* Identifies a version of the file without reading it. */
typedef struct FileStamp
{
	dev_t		device;
	ino_t		inode;
	off_t		size;
	struct timespec changed;
} FileStamp;

typedef struct SecretSet
{
	int			n;
	HmacSecret	secrets[HMAC_SECRETS_MAX];
	FileStamp	stamp;
} SecretSet;

static SecretSet in_use;
static SecretSet staged;		/* read, not yet adopted */
static SecretSet unadopted;		/* new ones of a file not yet reloaded */

/* Incremented by note_change(). */
static uint64 version = 0;

static char reason[256];		/* why a file is rejected */

/*
 * Of the postmaster, which all its processes inherit; in no shared memory.  It
 * makes ids of which nobody can guess the secrets.
 */
static struct
{
	int32		vl_len_;		/* laid out as a bytea */
	uint8		data[KEY_HASH_LEN];
} id_key;

static void
wipe(SecretSet *set)
{
	explicit_bzero(set, sizeof(SecretSet));
}

/* To be called with every change of in_use or unadopted. */
static void
note_change(void)
{
	version++;
	key_hash_forget_secret();
}

/* ------------------------------------------------------------ the parser */

/*
 * May a text be a secret?  Spaces at its ends are probably accidental, and a
 * control character suggests a file of another kind.
 */
static bool
is_secret(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		if ((unsigned char) text[i] < ' ' || text[i] == 0x7f)
			return false;
	}
	return len == 0 || (text[0] != ' ' && text[len - 1] != ' ');
}

/*
 * Parses a line, "name:secret".  Returns NULL or why it is rejected, which
 * quotes nothing of the line but a well-formed name before a colon.
 */
static const char *
parse_line(SecretSet *set, int number, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len);
	size_t		name_len = colon ? colon - line : 0;
	const char *text = colon ? colon + 1 : NULL;
	size_t		text_len = colon ? len - name_len - 1 : 0;
	HmacSecret *secret = &set->secrets[set->n];

	if (!key_hash_is_secret_name(line, name_len) || !is_secret(text, text_len))
		snprintf(reason, sizeof(reason), "Line %d is not of the form \"name:secret\".", number);
	else if (text_len < HMAC_SECRET_MIN_LEN || text_len > HMAC_SECRET_MAX_LEN)
		snprintf(reason, sizeof(reason), "The secret in line %d does not have %d to %d bytes.",
				 number, HMAC_SECRET_MIN_LEN, HMAC_SECRET_MAX_LEN);
	else if (set->n == HMAC_SECRETS_MAX)
		snprintf(reason, sizeof(reason), "Line %d is one too many: %d secrets are allowed.",
				 number, HMAC_SECRETS_MAX);
	else
	{
		memcpy(secret->name, line, name_len);
		SET_VARSIZE(&secret->value, VARHDRSZ + text_len);
		memcpy(secret->value.data, text, text_len);
		for (int i = 0; i < set->n; i++)
		{
			if (strcmp(set->secrets[i].name, secret->name) != 0)
				continue;
			snprintf(reason, sizeof(reason), "Line %d names secret \"%s\" a second time.",
					 number, secret->name);
			return reason;
		}
		set->n++;
		return NULL;
	}

	return reason;
}

/* Parses a file's content; returns NULL or why it is rejected. */
static const char *
parse(SecretSet *set, const char *content, size_t size)
{
	const char *end = content + size;
	int			number = 0;

	for (const char *line = content; line < end;)
	{
		const char *newline = memchr(line, '\n', end - line);
		const char *line_end = newline ? newline : end;
		const char *next = newline ? newline + 1 : end;

		number++;
		if (line_end > line && line_end[-1] == '\r')
			line_end--;
		while (line < line_end && (*line == ' ' || *line == '\t'))
			line++;
		if (line < line_end && *line != '#')
		{
			const char *fault = parse_line(set, number, line, line_end - line);

			if (fault != NULL)
				return fault;
		}
		line = next;
	}

	/* The file may be empty for a moment while an editor saves it. */
	return set->n > 0 ? NULL : "It holds no secret.";
}

/* -------------------------------------------------------------- the file */

static FileStamp
stamp_of(const struct stat *st)
{
	FileStamp	stamp;

	memset(&stamp, 0, sizeof(stamp)); /* stamps are compared bytewise */
	stamp.device = st->st_dev;
	stamp.inode = st->st_ino;
	stamp.size = st->st_size;
	stamp.changed.tv_sec = st->st_ctim.tv_sec;
	stamp.changed.tv_nsec = st->st_ctim.tv_nsec;
	return stamp;
}

/* The same rule as for ssl_key_file. */
static const char *
check_file(const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "It is not a regular file.";
	if (st->st_uid != geteuid() && st->st_uid != 0)
		return "It must be owned by the server's user or by root.";
	if (st->st_mode & (st->st_uid == 0 ? S_IWGRP | S_IXGRP | S_IRWXO : S_IRWXG | S_IRWXO))
		return "Others may read it: it must have mode 0600 or less if owned by the server's user, 0640 or less if owned by root.";
	if (st->st_size > FILE_MAX_SIZE)
		return "It is too large.";
	return NULL;
}

/* Reads an open file into a set; returns NULL or why it is rejected. */
static const char *
read_descriptor(int fd, SecretSet *set)
{
	static char content[FILE_MAX_SIZE];
	struct stat st;
	const char *fault;
	size_t		size = 0;
	ssize_t		n;

	if (fstat(fd, &st) != 0)
		return "It could not be examined.";
	set->stamp = stamp_of(&st);
	fault = check_file(&st);
	if (fault != NULL)
		return fault;

	while (size < sizeof(content) &&
		   (n = read(fd, content + size, sizeof(content) - size)) != 0)
	{
		if (n > 0)
			size += n;
		else if (errno != EINTR)
		{
			fault = "It could not be read.";
			break;
		}
	}
	if (fault == NULL)
		fault = parse(set, content, size);
	explicit_bzero(content, sizeof(content));

	return fault;
}

/* Reads a file into a set; returns NULL or why it is rejected. */
static const char *
read_file(const char *path, SecretSet *set)
{
	/* O_NONBLOCK: do not wait should the path be a pipe. */
	int			fd = BasicOpenFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);
	const char *fault;

	wipe(set);
	if (fd < 0)
	{
		snprintf(reason, sizeof(reason), "It could not be opened: %s.", strerror(errno));
		return reason;
	}
	fault = read_descriptor(fd, set);
	close(fd);

	return fault;
}

/* ------------------------------------------------------- for the setting */

/*
 * Reads the secrets of a file, for hmac_secrets_adopt().  Returns NULL, or a
 * sentence that says why the file is rejected.
 */
const char *
hmac_secrets_stage(const char *path)
{
	const char *fault = read_file(path, &staged);

	if (fault != NULL)
		wipe(&staged);
	return fault;
}

/* Puts the staged secrets into use. */
void
hmac_secrets_adopt(void)
{
	if (staged.n == 0)
		return;

	if (staged.n != in_use.n || unadopted.n > 0 ||
		memcmp(staged.secrets, in_use.secrets, sizeof(staged.secrets)) != 0)
		note_change();
	wipe(&unadopted);
	in_use = staged;
	wipe(&staged);
}

/* Removes all secrets. */
void
hmac_secrets_clear(void)
{
	if (in_use.n > 0 || unadopted.n > 0)
		note_change();
	wipe(&in_use);
	wipe(&unadopted);
	wipe(&staged);
}

/* -------------------------------------------- for the hashing of keys */

/* The secret to hash new keys with, or NULL without secrets. */
const HmacSecret *
hmac_secrets_first(void)
{
	return in_use.n > 0 ? &in_use.secrets[0] : NULL;
}

/* Returns the number of secrets under which keys are looked up. */
int
hmac_secrets_count(void)
{
	return in_use.n + unadopted.n;
}

/* Returns a secret; those in use come first, in the order of the file. */
const HmacSecret *
hmac_secrets_get(int i)
{
	Assert(i >= 0 && i < hmac_secrets_count());

	return i < in_use.n ? &in_use.secrets[i] : &unadopted.secrets[i - in_use.n];
}

uint64
hmac_secrets_version(void)
{
	return version;
}

/* Returns the id of all secrets under which keys are looked up, in their order. */
HmacSecretsId
hmac_secrets_id(void)
{
	static uint64 id_version = 0;
	static HmacSecretsId id;	/* of no secrets: zeroes */
	Size		size = hmac_secrets_count() * sizeof(HmacSecret);
	text	   *all;

	if (id_version == version)
		return id;

	memset(&id, 0, sizeof(id));
	if (size > 0)
	{
		all = palloc(VARHDRSZ + size);
		SET_VARSIZE(all, VARHDRSZ + size);
		for (int i = 0; i < hmac_secrets_count(); i++)
			memcpy(VARDATA(all) + i * sizeof(HmacSecret), hmac_secrets_get(i), sizeof(HmacSecret));
		memcpy(&id, VARDATA_ANY(key_hash_compute(all, (bytea *) &id_key)), sizeof(id));
		explicit_bzero(all, VARHDRSZ + size);
		pfree(all);
	}
	id_version = version;
	return id;
}

/* Called while the library is loaded. */
void
hmac_secrets_init(void)
{
	SET_VARSIZE(&id_key, sizeof(id_key));
	random_fill(id_key.data, sizeof(id_key.data));
}

/* Did hmac_secrets_reread() find new secrets since the last reload? */
bool
hmac_secrets_are_outdated(void)
{
	return unadopted.n > 0;
}

static bool
is_in_use(const HmacSecret *secret)
{
	for (int i = 0; i < in_use.n; i++)
	{
		if (memcmp(&in_use.secrets[i], secret, sizeof(HmacSecret)) == 0)
			return true;
	}
	return false;
}

/*
 * If a file has changed since it was read, reads those of its secrets that are
 * not in use into the second set, and returns true if there are any.  Costs
 * one stat() if it has not changed.
 */
bool
hmac_secrets_reread(const char *path)
{
	struct stat st;
	FileStamp	stamp;
	int			known = 0;

	if (path[0] == '\0' || stat(path, &st) != 0)
		return false;
	stamp = stamp_of(&st);
	if (memcmp(&stamp, &in_use.stamp, sizeof(stamp)) == 0 ||
		memcmp(&stamp, &unadopted.stamp, sizeof(stamp)) == 0)
		return false;

	if (unadopted.n > 0)
		note_change();
	if (read_file(path, &unadopted) != NULL)
		unadopted.n = 0;		/* its stamp stays: it is read only once */

	for (int i = 0; i < unadopted.n; i++)
	{
		if (!is_in_use(&unadopted.secrets[i]))
			unadopted.secrets[known++] = unadopted.secrets[i];
	}
	explicit_bzero(&unadopted.secrets[known], (HMAC_SECRETS_MAX - known) * sizeof(HmacSecret));
	unadopted.n = known;
	if (known > 0)
		note_change();

	return known > 0;
}
