/*-------------------------------------------------------------------------
 *
 * feed_sessions.c
 *	  The sessions in which other servers tell this one of their use.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A server has one session in each of its databases, and is there all the time.  A
 * command that needs a database for itself ends those that are known, and leaves a
 * note until it is done.  A session is not known before its first request, but
 * looks for such a note then, under the lock under which it becomes known; so
 * none stays.  Whoever connects after the command has locked the database has
 * to wait for it.
 *
 * A session that is replaced is ended: a server whose link was cut may have left it
 * behind, and nobody else would know of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/procarray.h"

#include "live/feed_sessions.h"

/* Ends the session of a server, if there is one.  Exclusive lock. */
void
feed_sessions_end(FeedServer *server)
{
	PGPROC	   *proc = server->pid != 0 && server->pid != MyProcPid ? BackendPidGetProc(server->pid) : NULL;

	if (proc != NULL && proc->databaseId == server->database)
		kill(server->pid, SIGTERM);
	server->pid = 0;
}

/* Removes the note of a command of this session.  Exclusive lock. */
static void
remove_command(FeedState *feed)
{
	for (int i = 0; i < FEED_MAX_COMMANDS; i++)
	{
		if (feed->commands[i].pid == MyProcPid)
			feed->commands[i].pid = 0;
	}
}

/* before_shmem_exit callback: another process may get the number of this one. */
static void
forget_session(int code, Datum arg)
{
	FeedState  *feed = feed_state_attach();

	LWLockAcquire(&feed->lock, LW_EXCLUSIVE);
	for (int i = 0; i < FEED_MAX_SERVERS; i++)
	{
		if (feed->servers[i].pid == MyProcPid)
			feed->servers[i].pid = 0;
	}
	remove_command(feed);
	LWLockRelease(&feed->lock);
}

/* Has this session forgotten when it ends. */
static void
forget_session_at_exit(void)
{
	static bool registered = false;

	if (!registered)
		before_shmem_exit(forget_session, (Datum) 0);
	registered = true;
}

/* Makes this session the one of a server, and ends the one it had.  Exclusive lock. */
void
feed_sessions_register(FeedServer *server)
{
	forget_session_at_exit();
	feed_sessions_end(server);
	server->pid = MyProcPid;
}

/* May sessions of other servers stay in a database?  Lock. */
bool
feed_sessions_may_stay(const FeedState *feed, Oid database)
{
	for (int i = 0; i < FEED_MAX_COMMANDS; i++)
	{
		if (feed->commands[i].pid != 0 && feed->commands[i].database == database)
			return false;
	}
	return true;
}

/* Leaves the note of a command.  With more of them at once than there is space for, none. */
static void
add_command(FeedState *feed, Oid database)
{
	int			i = 0;

	while (i < FEED_MAX_COMMANDS && feed->commands[i].pid != 0)
		i++;
	if (i < FEED_MAX_COMMANDS)
		feed->commands[i] = (FeedCommand){.database = database, .pid = MyProcPid};
}

/*
 * Ends the sessions of other servers in a database, and keeps them out until
 * feed_sessions_admit(), so that it can be dropped or copied.
 */
void
feed_sessions_exclude(Oid database)
{
	FeedState  *feed = feed_state_attach();

	if (feed == NULL)
		return;
	forget_session_at_exit();
	LWLockAcquire(&feed->lock, LW_EXCLUSIVE);
	add_command(feed, database);
	for (int i = 0; i < FEED_MAX_SERVERS; i++)
	{
		if (feed->servers[i].database == database)
			feed_sessions_end(&feed->servers[i]);
	}
	LWLockRelease(&feed->lock);
}

/* The command is done. */
void
feed_sessions_admit(void)
{
	FeedState  *feed = feed_state_attach();

	if (feed == NULL)
		return;
	LWLockAcquire(&feed->lock, LW_EXCLUSIVE);
	remove_command(feed);
	LWLockRelease(&feed->lock);
}
