-- Daily facts of events: by customer and local day. Only what the profile asks for by the day keeps its day: views, opens and
-- clicks of the longest window (90 days). All else is merged into one row without a day, and facts of other days merge the
-- same way (counts add up, of times the latest stays).
-- Inputs: events_numbered. Grain: customer_no, fact_on.
SELECT customer_no, fact_on,
       count(*) FILTER (WHERE _kind = 1) AS page_views, count(*) FILTER (WHERE _kind = 2) AS product_views,
       count(*) FILTER (WHERE _kind = 3) AS email_opens, count(*) FILTER (WHERE _kind = 4) AS email_clicks,
       count(*) FILTER (WHERE _kind = 11) AS negative_reviews,
       max(occurred_at) FILTER (WHERE _kind IN (1, 2, 5, 6, 8)) AS seen_at,
       max(occurred_at) FILTER (WHERE _kind = 8) AS checkout_at,
       max(occurred_at) FILTER (WHERE _kind = 9) AS unsubscribed_at,
       max(occurred_at) FILTER (WHERE _kind = 10) AS bounced_at,
       max(occurred_at) FILTER (WHERE _kind = 12) AS subscription_started_at,
       max(occurred_at) FILTER (WHERE _kind = 13) AS subscription_cancelled_at
FROM (
  SELECT customer_no, _kind, occurred_at,
         CASE WHEN _kind <= 4 AND occurred_at >= $window_start THEN local_date(occurred_at, $zone) END AS fact_on
  FROM events_numbered
  WHERE _kind > 0 AND _kind <> 7
)
GROUP BY customer_no, fact_on
