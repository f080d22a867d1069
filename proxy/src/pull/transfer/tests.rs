//! Turns of fills, and what ends them.

use super::*;

#[tokio::test(start_paused = true)]
async fn who_finds_no_turn_hears_so_long_before_a_client_gives_up() {
    let turns = Arc::new(Semaphore::new(1));
    let held = turn(&turns).await.unwrap();
    let asked = tokio::time::Instant::now();
    assert!(matches!(turn(&turns).await, Err(PullError::Crowded)));
    assert_eq!(asked.elapsed(), TURN_WITHIN);
    drop(held);
    drop(turn(&turns).await.unwrap());
}
