-- The columns are BIGINT (times in milliseconds), TEXT and BLOB, so that the same statements run on Postgres.

-- The oldest schema version a program may know and still run on this schema.
CREATE TABLE schema_info (
    one BIGINT PRIMARY KEY NOT NULL,
    oldest BIGINT NOT NULL
);
INSERT INTO schema_info (one, oldest) VALUES (1, 1);

CREATE TABLE repos (
    id BIGINT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    installation BIGINT NOT NULL
);

-- What GitHub delivered. stands: waiting, done, ignored, fault, refused.
CREATE TABLE deliveries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    body BLOB NOT NULL,
    received_at BIGINT NOT NULL,
    stands TEXT NOT NULL,
    why TEXT,
    settled_at BIGINT
);
CREATE INDEX deliveries_waiting ON deliveries (seq) WHERE stands = 'waiting';
CREATE INDEX deliveries_settled ON deliveries (settled_at) WHERE settled_at IS NOT NULL;

-- What happened to a pull request. set_aside: why this program cannot read the row; a newer one may.
CREATE TABLE mail (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    repo BIGINT NOT NULL,
    number BIGINT NOT NULL,
    event TEXT NOT NULL,
    posted_at BIGINT NOT NULL,
    read_at BIGINT,
    set_aside TEXT
);
CREATE INDEX mail_unread ON mail (id) WHERE read_at IS NULL AND set_aside IS NULL;
CREATE INDEX mail_of_pull ON mail (repo, number, id) WHERE read_at IS NULL AND set_aside IS NULL;
CREATE INDEX mail_read ON mail (read_at) WHERE read_at IS NOT NULL;

CREATE TABLE mailboxes (
    repo BIGINT NOT NULL,
    number BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    holder TEXT,
    lease_no BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    PRIMARY KEY (repo, number)
);

CREATE TABLE pulls (
    repo BIGINT NOT NULL,
    number BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    head TEXT,
    is_open BIGINT NOT NULL,
    doc TEXT NOT NULL,
    PRIMARY KEY (repo, number)
);
CREATE INDEX pulls_by_head ON pulls (repo, head) WHERE head IS NOT NULL;
CREATE INDEX pulls_open ON pulls (repo, number) WHERE is_open = 1;

CREATE TABLE runs (
    id TEXT PRIMARY KEY NOT NULL,
    repo BIGINT NOT NULL,
    number BIGINT NOT NULL,
    doc TEXT NOT NULL,
    FOREIGN KEY (repo, number) REFERENCES pulls (repo, number)
);
CREATE INDEX runs_of_pull ON runs (repo, number);

CREATE TABLE stack_runs (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    stack TEXT NOT NULL,
    doc TEXT NOT NULL,
    PRIMARY KEY (run, stack)
);

CREATE TABLE tickets (
    id TEXT PRIMARY KEY NOT NULL,
    repo BIGINT NOT NULL,
    number BIGINT NOT NULL,
    doc TEXT NOT NULL,
    FOREIGN KEY (repo, number) REFERENCES pulls (repo, number)
);
CREATE INDEX tickets_of_pull ON tickets (repo, number);

CREATE TABLE commands (
    repo BIGINT NOT NULL,
    number BIGINT NOT NULL,
    id TEXT NOT NULL,
    doc TEXT NOT NULL,
    PRIMARY KEY (repo, number, id),
    FOREIGN KEY (repo, number) REFERENCES pulls (repo, number)
);

-- One row per state that was ever locked; never deleted, so that the fence never restarts.
CREATE TABLE locks (
    key TEXT PRIMARY KEY NOT NULL,
    fence BIGINT NOT NULL,
    applied BIGINT NOT NULL,
    applying BIGINT,
    holder_repo BIGINT,
    holder_number BIGINT,
    holder_stack TEXT,
    holder_since BIGINT,
    holder_merged TEXT
);
CREATE INDEX locks_held ON locks (holder_repo, holder_number) WHERE holder_repo IS NOT NULL;

CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    key TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    lane TEXT NOT NULL,
    repo BIGINT NOT NULL,
    number BIGINT NOT NULL,
    work TEXT NOT NULL,
    not_before BIGINT NOT NULL,
    taken BIGINT NOT NULL,
    released BIGINT NOT NULL,
    holder TEXT,
    lease_no BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    set_aside TEXT
);
-- At most one job waits per key.
CREATE UNIQUE INDEX jobs_waiting ON jobs (key) WHERE holder IS NULL;
CREATE INDEX jobs_by_key ON jobs (key, attempt);
CREATE INDEX jobs_due ON jobs (lane, not_before, id);

-- What people see on GitHub. urgent: the last wanted revision that may not wait. step: how far the pause has grown.
CREATE TABLE surfaces (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    run TEXT,
    wanted BIGINT NOT NULL,
    published BIGINT NOT NULL,
    urgent BIGINT NOT NULL,
    step BIGINT NOT NULL,
    published_at BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    retry_at BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    github_id BIGINT,
    digest TEXT,
    set_aside TEXT,
    PRIMARY KEY (owner, key)
);
CREATE INDEX surfaces_due ON surfaces (not_before) WHERE wanted > published;
CREATE INDEX surfaces_of_run ON surfaces (run) WHERE run IS NOT NULL;

CREATE TABLE publishers (
    owner TEXT PRIMARY KEY NOT NULL,
    holder TEXT,
    lease_no BIGINT NOT NULL,
    lease_until BIGINT NOT NULL
);
