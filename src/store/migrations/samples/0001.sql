-- A pull request in the middle of an apply, as schema 1 keeps it.
INSERT INTO repos (id, name, installation) VALUES (7, 'acme/infra', 5);
INSERT INTO deliveries (id, name, body, received_at, stands) VALUES ('d1', 'pull_request', x'7b7d', 1700000000000, 'waiting');
INSERT INTO mail (repo, number, event, posted_at) VALUES (7, 12, '{"pull":"moved"}', 1700000000000);
INSERT INTO mailboxes (repo, number, not_before, tries, lease_no, lease_until) VALUES (7, 12, 0, 0, 1, 0);
INSERT INTO pulls (repo, number, revision, head, is_open, doc) VALUES (7, 12, 3, '1111111111111111111111111111111111111111', 1,
    '{"now":{"number":12,"title":"A wider network","state":{"is":"open"},"draft":false,"author":"octocat","head":{"sha":"1111111111111111111111111111111111111111","name":"wider","repo":{"id":7,"name":"acme/infra"},"is_fork":false},"base_ref":"main","base_sha":"2222222222222222222222222222222222222222","labels":[],"merge_commit_sha":null},"base_tip":"2222222222222222222222222222222222222222","current":"0190a000-0000-7000-8000-000000000001","opened":1,"consents":{},"pushed":{},"shown":{},"applied":{}}');
INSERT INTO runs (id, repo, number, doc) VALUES ('0190a000-0000-7000-8000-000000000001', 7, 12,
    '{"id":"0190a000-0000-7000-8000-000000000001","number":1,"head":"1111111111111111111111111111111111111111","base_ref":"main","discovery":{"pending":1},"stacks":{},"end":null}');
INSERT INTO tickets (id, repo, number, doc) VALUES ('0190a000-0000-7000-8000-000000000002', 7, 12,
    '{"by":"octocat","command":"c5.1","head":"1111111111111111111111111111111111111111","run":"0190a000-0000-7000-8000-000000000001","stacks":{"network":null},"at":1700000000000}');
INSERT INTO commands (repo, number, id, doc) VALUES (7, 12, 'c5.1',
    '{"by":"octocat","at":1700000000000,"text":"/apply","command":{"apply":{"select":[]}},"outcome":{"applying":"0190a000-0000-7000-8000-000000000002"}}');
INSERT INTO locks (key, fence, applied, applying, holder_repo, holder_number, holder_stack, holder_since)
    VALUES ('s3:bucket=acme,key=network:default', 2, 1, 2, 7, 12, 'network', 1700000000000);
INSERT INTO jobs (key, attempt, lane, repo, number, work, not_before, taken, released, lease_no, lease_until)
    VALUES ('wake:7#12', 1, 'light', 7, 12, '"wake"', 1700000000000, 0, 0, 0, 0);
INSERT INTO surfaces (owner, key, wanted, published, urgent, step, published_at, not_before, retry_at, tries)
    VALUES ('pull 7#12', 'comment', 2, 1, 0, 1, 1700000000000, 1700000000500, 0, 0);
