-- People come and go as often as they like: that pushes out nothing that was done.
UPDATE audit SET kind = 3 WHERE kind = 0 AND action IN ('signed in', 'POST /logout');
