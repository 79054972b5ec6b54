//! Owns the statements: every one is a const of this one list, which a test prepares on the database.

/// Makes one const per statement and the list of them all.
macro_rules! statements {
    ($($name:ident = $sql:expr;)*) => {
        $(pub(super) const $name: &str = $sql;)*
        /// Every statement by its name.
        pub(super) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

statements! {
    // --- schema ------------------------------------------------------------------------------------------
    SCHEMA_OLDEST = "SELECT oldest FROM schema_info WHERE one = 1";
    END_MAILBOX_LEASES = "UPDATE mailboxes SET lease_until = 0 WHERE holder IS NOT NULL";
    END_JOB_LEASES = "UPDATE jobs SET lease_until = 0 WHERE holder IS NOT NULL";
    END_PUBLISHER_LEASES = "UPDATE publishers SET lease_until = 0 WHERE holder IS NOT NULL";
    RETRY_MAIL = "UPDATE mail SET set_aside = NULL WHERE set_aside IS NOT NULL AND read_at IS NULL";
    RETRY_JOBS = "UPDATE jobs SET set_aside = NULL WHERE set_aside IS NOT NULL";
    RETRY_SURFACES = "UPDATE surfaces SET set_aside = NULL WHERE set_aside IS NOT NULL";
    CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)";

    // --- repositories --------------------------------------------------------------------------------------
    UPSERT_REPO = "INSERT INTO repos (id, name, installation) VALUES ($1, $2, $3)
        ON CONFLICT (id) DO UPDATE SET name = excluded.name, installation = excluded.installation";
    REPO = "SELECT id, name, installation FROM repos WHERE id = $1";
    REPOS = "SELECT id, name, installation FROM repos ORDER BY id";
    OPEN_PULLS = "SELECT number, head FROM pulls WHERE repo = $1 AND is_open = 1 ORDER BY number";
    PULLS_WITH_HEAD = "SELECT number, is_open FROM pulls WHERE repo = $1 AND head = $2 ORDER BY number";
    RUN_EXISTS = "SELECT CAST(COUNT(*) AS BIGINT) FROM runs WHERE id = $1";
    PULL_OF_RUN = "SELECT repo, number FROM runs WHERE id = $1";

    // --- deliveries ----------------------------------------------------------------------------------------
    INSERT_DELIVERY = "INSERT INTO deliveries (id, name, body, received_at, stands, why, settled_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING RETURNING id";
    INSERT_DELIVERIES = "INSERT INTO deliveries (id, name, body, received_at, stands, why, settled_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7),
        ($8, $9, $10, $11, $12, $13, $14),
        ($15, $16, $17, $18, $19, $20, $21),
        ($22, $23, $24, $25, $26, $27, $28),
        ($29, $30, $31, $32, $33, $34, $35),
        ($36, $37, $38, $39, $40, $41, $42),
        ($43, $44, $45, $46, $47, $48, $49),
        ($50, $51, $52, $53, $54, $55, $56)
        ON CONFLICT (id) DO NOTHING RETURNING id";
    REOPEN_DELIVERY = "UPDATE deliveries SET stands = 'waiting', why = NULL, settled_at = NULL, body = $2
        WHERE id = $1 AND stands IN ('fault', 'refused')";
    WAITING_DELIVERIES = "SELECT id, name, body, received_at FROM deliveries WHERE stands = 'waiting' ORDER BY seq LIMIT $1";
    SETTLE_DELIVERY = "UPDATE deliveries SET stands = $2, why = $3, settled_at = $4 WHERE id = $1 AND stands = 'waiting'";
    DELIVERY = "SELECT stands, why FROM deliveries WHERE id = $1";
    EMPTY_BODIES = "UPDATE deliveries SET body = $2 WHERE settled_at < $1 AND length(body) > 0";
    DELETE_DELIVERIES = "DELETE FROM deliveries WHERE settled_at < $1";
    DELETE_MAIL = "DELETE FROM mail WHERE read_at < $1";

    // --- mailboxes -----------------------------------------------------------------------------------------
    INSERT_MAIL = "INSERT INTO mail (repo, number, event, posted_at) VALUES ($1, $2, $3, $4)";
    ENSURE_MAILBOX = "INSERT INTO mailboxes (repo, number, not_before, tries, lease_no, lease_until)
        VALUES ($1, $2, 0, 0, 0, 0) ON CONFLICT (repo, number) DO NOTHING";
    NEXT_MAILBOX = "SELECT b.repo, b.number, CASE WHEN b.holder IS NULL THEN 0 ELSE 1 END FROM mail m JOIN mailboxes b ON b.repo = m.repo AND b.number = m.number
        WHERE m.read_at IS NULL AND m.set_aside IS NULL AND b.not_before <= $1
        AND (b.holder IS NULL OR b.lease_until <= $1) ORDER BY m.id LIMIT 1";
    CLAIM_MAILBOX = "UPDATE mailboxes SET tries = tries + CASE WHEN holder IS NULL THEN 0 ELSE 1 END, holder = $3,
        lease_no = lease_no + 1, lease_until = $4 WHERE repo = $1 AND number = $2 RETURNING lease_no, tries";
    UNREAD_MAIL = "SELECT id, event FROM mail WHERE repo = $1 AND number = $2 AND read_at IS NULL AND set_aside IS NULL
        ORDER BY id LIMIT $3";
    SET_MAIL_ASIDE = "UPDATE mail SET set_aside = $2 WHERE id = $1";
    HOLDS_MAILBOX = "SELECT lease_no FROM mailboxes WHERE repo = $1 AND number = $2 AND holder IS NOT NULL";
    EXTEND_MAILBOX = "UPDATE mailboxes SET lease_until = $4
        WHERE repo = $1 AND number = $2 AND lease_no = $3 AND holder IS NOT NULL";
    PUT_MAILBOX_BACK = "UPDATE mailboxes SET holder = NULL, not_before = $4, tries = tries + 1
        WHERE repo = $1 AND number = $2 AND lease_no = $3 AND holder IS NOT NULL";
    RELEASE_MAILBOX = "UPDATE mailboxes SET holder = NULL, not_before = 0, tries = 0
        WHERE repo = $1 AND number = $2 AND lease_no = $3 AND holder IS NOT NULL";
    READ_MAIL = "UPDATE mail SET read_at = $4 WHERE id = $1 AND repo = $2 AND number = $3 AND read_at IS NULL";

    // --- the state of one pull request ---------------------------------------------------------------------
    PULL = "SELECT doc FROM pulls WHERE repo = $1 AND number = $2";
    RUNS = "SELECT id, doc FROM runs WHERE repo = $1 AND number = $2";
    STACK_RUNS = "SELECT s.run, s.stack, s.doc FROM stack_runs s JOIN runs r ON r.id = s.run
        WHERE r.repo = $1 AND r.number = $2";
    TICKETS = "SELECT id, doc FROM tickets WHERE repo = $1 AND number = $2";
    COMMANDS = "SELECT id, doc FROM commands WHERE repo = $1 AND number = $2";
    LOCK = "SELECT key, fence, applied, applying, holder_repo, holder_number, holder_stack, holder_since, holder_merged
        FROM locks WHERE key = $1";
    LOCKS_HELD = "SELECT key, fence, applied, applying, holder_repo, holder_number, holder_stack, holder_since, holder_merged
        FROM locks WHERE holder_repo = $1 AND holder_number = $2 ORDER BY key";
    PULLS_OF_STATE = "SELECT DISTINCT r.repo, r.number FROM stack_runs s JOIN runs r ON r.id = s.run
        JOIN pulls p ON p.repo = r.repo AND p.number = r.number WHERE p.is_open = 1 AND s.doc LIKE $1 ESCAPE '!'";
    STACK_RUN = "SELECT doc FROM stack_runs WHERE run = $1 AND stack = $2";
    RUN = "SELECT doc FROM runs WHERE id = $1";
    TICKET = "SELECT doc FROM tickets WHERE id = $1";

    UPSERT_PULL = "INSERT INTO pulls (repo, number, revision, head, is_open, doc) VALUES ($1, $2, 1, $3, $4, $5)
        ON CONFLICT (repo, number) DO UPDATE SET revision = pulls.revision + 1, head = excluded.head,
        is_open = excluded.is_open, doc = excluded.doc RETURNING revision";
    UPSERT_RUN = "INSERT INTO runs (id, repo, number, doc) VALUES ($1, $2, $3, $4)
        ON CONFLICT (id) DO UPDATE SET doc = excluded.doc";
    DELETE_RUN = "DELETE FROM runs WHERE id = $1";
    UPSERT_STACK_RUN = "INSERT INTO stack_runs (run, stack, doc) VALUES ($1, $2, $3)
        ON CONFLICT (run, stack) DO UPDATE SET doc = excluded.doc";
    DELETE_STACK_RUN = "DELETE FROM stack_runs WHERE run = $1 AND stack = $2";
    UPSERT_TICKET = "INSERT INTO tickets (id, repo, number, doc) VALUES ($1, $2, $3, $4)
        ON CONFLICT (id) DO UPDATE SET doc = excluded.doc";
    DELETE_TICKET = "DELETE FROM tickets WHERE id = $1";
    UPSERT_COMMAND = "INSERT INTO commands (repo, number, id, doc) VALUES ($1, $2, $3, $4)
        ON CONFLICT (repo, number, id) DO UPDATE SET doc = excluded.doc";
    DELETE_COMMAND = "DELETE FROM commands WHERE repo = $1 AND number = $2 AND id = $3";
    UPSERT_LOCK = "INSERT INTO locks (key, fence, applied, applying, holder_repo, holder_number, holder_stack,
        holder_since, holder_merged) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (key) DO UPDATE SET fence = excluded.fence, applied = excluded.applied,
        applying = excluded.applying, holder_repo = excluded.holder_repo, holder_number = excluded.holder_number,
        holder_stack = excluded.holder_stack, holder_since = excluded.holder_since,
        holder_merged = excluded.holder_merged";

    // --- jobs ----------------------------------------------------------------------------------------------
    // A try that is under way is not asked for again; a timer is, because the running one may be about to end.
    UPSERT_JOB = "INSERT INTO jobs (key, attempt, lane, repo, number, work, not_before, taken, released, lease_no, lease_until)
        SELECT $1, $2, $3, $4, $5, $6, $7, 0, 0, 0, 0
        WHERE $8 = 1 OR NOT EXISTS (SELECT 1 FROM jobs WHERE key = $1 AND attempt >= $2 AND holder IS NOT NULL)
        ON CONFLICT (key) WHERE holder IS NULL DO UPDATE SET work = excluded.work,
        not_before = CASE WHEN excluded.attempt > jobs.attempt OR excluded.not_before < jobs.not_before
            THEN excluded.not_before ELSE jobs.not_before END,
        attempt = CASE WHEN excluded.attempt > jobs.attempt THEN excluded.attempt ELSE jobs.attempt END";
    NEXT_JOB = "SELECT id FROM jobs WHERE lane = $1 AND not_before <= $2 AND set_aside IS NULL
        AND (holder IS NULL OR lease_until <= $2) ORDER BY not_before, id LIMIT 1";
    CLAIM_JOB = "UPDATE jobs SET holder = $2, lease_no = lease_no + 1, lease_until = $3, taken = taken + 1
        WHERE id = $1 RETURNING lease_no, taken, released, repo, number, attempt, not_before, work";
    SET_JOB_ASIDE = "UPDATE jobs SET set_aside = $2, lease_until = 0 WHERE id = $1";
    BEAT_JOB = "UPDATE jobs SET lease_until = $3 WHERE id = $1 AND lease_no = $2 AND holder IS NOT NULL";
    HOLDS_JOB = "SELECT lease_no FROM jobs WHERE id = $1 AND holder IS NOT NULL";
    FINISH_JOB = "DELETE FROM jobs WHERE id = $1 AND lease_no = $2 AND holder IS NOT NULL";
    RELEASE_JOB = "UPDATE jobs SET holder = NULL, not_before = $3, taken = taken - 1, released = released + 1
        WHERE id = $1 AND lease_no = $2 AND holder IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM jobs other WHERE other.key = jobs.key AND other.holder IS NULL)";

    // --- surfaces ------------------------------------------------------------------------------------------
    SURFACE = "SELECT key, wanted, published, urgent, step, published_at, not_before, tries, github_id, digest
        FROM surfaces WHERE owner = $1 AND key = $2";
    INSERT_SURFACE = "INSERT INTO surfaces (owner, key, run, wanted, published, urgent, step, published_at, not_before,
        retry_at, tries) VALUES ($1, $2, $3, 1, 0, $4, 0, 0, $5, 0, 0) ON CONFLICT (owner, key) DO NOTHING";
    TOUCH_SURFACE = "UPDATE surfaces SET wanted = $3, urgent = $4, step = $5, not_before = $6
        WHERE owner = $1 AND key = $2";
    COUNT_ABANDONED = "UPDATE surfaces SET tries = tries + 1 WHERE owner = $1 AND wanted > published
        AND github_id IS NULL AND EXISTS (SELECT 1 FROM publishers p WHERE p.owner = $1 AND p.holder IS NOT NULL)";
    NEXT_OWNER = "SELECT s.owner FROM surfaces s LEFT JOIN publishers p ON p.owner = s.owner
        WHERE s.wanted > s.published AND s.set_aside IS NULL AND s.not_before <= $1 AND s.retry_at <= $1
        AND (p.holder IS NULL OR p.lease_until <= $1) ORDER BY s.not_before, s.owner LIMIT 1";
    CLAIM_OWNER = "INSERT INTO publishers (owner, holder, lease_no, lease_until) VALUES ($1, $2, 1, $3)
        ON CONFLICT (owner) DO UPDATE SET holder = excluded.holder, lease_no = publishers.lease_no + 1,
        lease_until = excluded.lease_until RETURNING lease_no";
    DUE_SURFACES = "SELECT key, wanted, published, urgent, step, published_at, not_before, tries, github_id, digest
        FROM surfaces WHERE owner = $1 AND wanted > published AND set_aside IS NULL AND not_before <= $2
        AND retry_at <= $2 ORDER BY key";
    SET_SURFACE_ASIDE = "UPDATE surfaces SET set_aside = $3 WHERE owner = $1 AND key = $2";
    HOLDS_OWNER = "SELECT lease_no FROM publishers WHERE owner = $1 AND holder IS NOT NULL";
    PUBLISHED = "UPDATE surfaces SET published = $3, step = $4, published_at = $5, not_before = $6, retry_at = 0,
        tries = 0, github_id = $7, digest = $8 WHERE owner = $1 AND key = $2";
    PUBLISH_LATER = "UPDATE surfaces SET retry_at = $3, tries = tries + 1 WHERE owner = $1 AND key = $2";
    PUBLISH_UNLESS_URGENT = "UPDATE surfaces SET not_before = $3, tries = tries + 1 WHERE owner = $1 AND key = $2";
    EXTEND_OWNER = "UPDATE publishers SET lease_until = $3 WHERE owner = $1 AND lease_no = $2 AND holder IS NOT NULL";
    RELEASE_OWNER = "UPDATE publishers SET holder = NULL WHERE owner = $1 AND lease_no = $2 AND holder IS NOT NULL";
    DELETE_SURFACES_OF_RUN = "DELETE FROM surfaces WHERE run = $1";

    // --- what is left to do ----------------------------------------------------------------------------------
    COUNTS = "SELECT
        (SELECT CAST(COUNT(*) AS BIGINT) FROM deliveries WHERE stands = 'waiting') AS deliveries_waiting,
        (SELECT CAST(COUNT(*) AS BIGINT) FROM mail WHERE read_at IS NULL AND set_aside IS NULL) AS mail_unread,
        (SELECT CAST(COUNT(*) AS BIGINT) FROM mailboxes WHERE holder IS NOT NULL AND lease_until > $1) AS deciding,
        (SELECT CAST(COUNT(*) AS BIGINT) FROM jobs WHERE set_aside IS NULL AND holder IS NOT NULL
            AND lease_until > $1) AS jobs_running,
        (SELECT CAST(COUNT(*) AS BIGINT) FROM jobs WHERE set_aside IS NULL AND not_before <= $1
            AND (holder IS NULL OR lease_until <= $1) AND lane = 'tool') AS tool_jobs_due,
        (SELECT CAST(COUNT(*) AS BIGINT) FROM jobs WHERE set_aside IS NULL AND not_before <= $1
            AND (holder IS NULL OR lease_until <= $1) AND lane = 'light') AS light_jobs_due,
        (SELECT CAST(COUNT(*) AS BIGINT) FROM jobs WHERE set_aside IS NULL AND not_before > $1
            AND (holder IS NULL OR lease_until <= $1)) AS jobs_later,
        (SELECT CAST(COUNT(*) AS BIGINT) FROM surfaces WHERE wanted > published AND set_aside IS NULL)
            AS surfaces_unpublished,
        (SELECT CAST(COUNT(*) AS BIGINT) FROM locks WHERE holder_repo IS NOT NULL) AS locks_held,
        (SELECT CAST(COUNT(*) AS BIGINT) FROM mail WHERE read_at IS NULL AND set_aside IS NOT NULL)
            + (SELECT CAST(COUNT(*) AS BIGINT) FROM jobs WHERE set_aside IS NOT NULL)
            + (SELECT CAST(COUNT(*) AS BIGINT) FROM surfaces WHERE set_aside IS NOT NULL) AS set_aside";
    PING = "SELECT 1";
    FAULTS = "SELECT CAST(COUNT(*) AS BIGINT) FROM deliveries WHERE stands = 'fault'";
    NEXT_DUE = "SELECT CAST(MIN(due) AS BIGINT) FROM (
        SELECT CASE WHEN holder IS NULL OR not_before > lease_until THEN not_before ELSE lease_until END AS due
            FROM jobs WHERE set_aside IS NULL
        UNION ALL SELECT CASE WHEN b.holder IS NULL OR b.not_before > b.lease_until THEN b.not_before
            ELSE b.lease_until END FROM mailboxes b WHERE EXISTS (SELECT 1 FROM mail m WHERE m.repo = b.repo
            AND m.number = b.number AND m.read_at IS NULL AND m.set_aside IS NULL)
        UNION ALL SELECT CASE WHEN s.not_before > s.retry_at THEN s.not_before ELSE s.retry_at END
            FROM surfaces s WHERE s.wanted > s.published AND s.set_aside IS NULL
        UNION ALL SELECT p.lease_until FROM publishers p WHERE p.holder IS NOT NULL
        ) AS all_of_them WHERE due > $1";
}
