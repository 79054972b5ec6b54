//! Owns the journeys of what must not be seen, and of the pages that are seen by link alone.

use crate::world::{World, module};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sensitive_stands_in_no_comment_check_page_or_row() {
    let world = World::new().await;
    let text = "terraform {\n  backend \"local\" {}\n}\nvariable \"password\" {\n  default = \"hunter2-very-secret\"\n  sensitive = true\n}\nresource \"terraform_data\" \"this\" {\n  input = var.password\n  provisioner \"local-exec\" {\n    command = \"echo ${var.password}\"\n  }\n}\noutput \"value\" {\n  value = terraform_data.this.output\n  sensitive = true\n}\n";
    let pull = world.open("dns", &[("dns/main.tf", text)]).await;
    assert_eq!(
        pull.checks().await,
        "success success action_required",
        "{}",
        pull.status().await
    );
    let page = pull.stack_check("dns").await.details_url.expect("a page");
    let (status, html) = world.fetch(&page).await;
    assert_eq!(status, 200);
    assert!(html.contains("sensitive value") && !html.contains("hunter2"), "{html}");
    assert!(pull.apply().await.contains("1 of 1 applied"), "{}", pull.reply().await);
    let (_, html) = world.fetch(&page).await;
    assert!(!html.contains("hunter2"), "{html}");
    let all = pull.all_text().await;
    assert!(!all.contains("hunter2"), "{all}");
    for file in world.files_of(&["lockkeeper.db", "lockkeeper.db-wal", "artifacts"]) {
        let bytes = std::fs::read(&file).expect("a file");
        let found = bytes.windows(7).any(|window| window == b"hunter2");
        assert!(!found, "the secret is in {}", file.display());
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_shown_to_its_link_and_to_nothing_else() {
    let world = World::new().await;
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    let page = pull.stack_check("dns").await.details_url.expect("a page");
    let (status, html) = world.fetch(&page).await;
    assert_eq!(status, 200);
    assert!(html.contains("terraform_data.this"), "{html}");
    let bare = page.split('?').next().expect("a path");
    for wrong in [bare.to_owned(), page.replace("/dns?", "/network?"), format!("{page}0")] {
        let (status, html) = world.fetch(&wrong).await;
        assert_eq!(status, 403, "{wrong}");
        assert!(!html.contains("terraform_data"), "{html}");
    }
    world.end().await;
}
