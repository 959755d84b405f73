//! Every text of the pages, in English and Chinese. What the layers below say (reasons, problems, plans) is English and marked so.

use crate::web::view::Language;

impl Language {
    /// Every language, with its tag and its own name.
    pub const ALL: [(Self, &'static str, &'static str); 2] =
        [(Self::English, "en", "English"), (Self::Chinese, "zh", "中文")];

    /// Returns the tag that HTML and cookies use.
    pub fn tag(self) -> &'static str {
        Self::ALL.iter().find(|(lang, ..)| *lang == self).map_or("en", |(_, tag, _)| tag)
    }

    /// Reads a tag; `None`: there is no such language here.
    pub fn of_tag(tag: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == tag).map(|(lang, ..)| *lang)
    }

    /// Picks the language that a browser prefers (`Accept-Language`) of those that there are.
    pub fn preferred(accept: &str) -> Self {
        let weight = |part: &str| {
            let (tag, q) = part.split_once(";q=").unwrap_or((part, "1"));
            let lang = Self::of_tag(tag.trim().split('-').next().unwrap_or_default())?;
            Some((lang, q.trim().parse::<f32>().ok().filter(|q| q.is_finite()).unwrap_or(0.0)))
        };
        let mut best = (Self::English, 0.0);
        for (lang, q) in accept.split(',').take(20).filter_map(weight) {
            if q > best.1 {
                best = (lang, q);
            }
        }
        best.0
    }

    /// Returns a text in this language.
    pub const fn say(self, text: Text) -> &'static str {
        match self {
            Self::English => text.en,
            Self::Chinese => text.zh,
        }
    }

    /// Returns a text with its places, `{0}`, `{1}`, filled in.
    pub fn fill(self, text: Text, values: &[&dyn std::fmt::Display]) -> String {
        let mut out = String::new();
        let mut rest = self.say(text);
        while let Some((before, after)) = rest.split_once('{') {
            out += before;
            let Some((number, after)) = after.split_once('}') else { break };
            if let Some(value) = number.parse().ok().and_then(|n: usize| values.get(n)) {
                out += &value.to_string();
            }
            rest = after;
        }
        out + rest
    }
}

/// A text in every language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    /// English.
    pub en: &'static str,
    /// Chinese.
    pub zh: &'static str,
}

macro_rules! texts {
    ($($name:ident: $en:literal, $zh:literal;)*) => {
        $(#[doc = concat!("`", $en, "`")] pub const $name: Text = Text { en: $en, zh: $zh };)*
        /// All of them, by name.
        pub const ALL: &[(&str, Text)] = &[$((stringify!($name), $name)),*];
    };
}

texts! {
    // The frame.
    SKIP: "Skip to the content", "跳到正文";
    MAIN_MENU: "Main", "主菜单";
    LANGUAGE: "Language", "语言";
    OVERVIEW: "Overview", "概览";
    NODES: "Nodes", "节点";
    MATRIX: "Matrix", "可达矩阵";
    TRACE: "Trace", "路径追踪";
    RULES: "Rules", "规则";
    FILE: "File", "文件";
    CHANGES: "Changes", "变更";
    DOCTOR: "Doctor", "诊断";
    AUDIT: "Audit", "审计";
    PEOPLE: "Users", "用户";
    NOTIFICATIONS: "Notifications", "通知";
    LOG_OUT: "Log out", "退出";
    LOG_IN: "Log in", "登录";
    LOGGED_IN_AS: "logged in as {0} ({1})", "已登录：{0}（{1}）";
    BY_TUNNEL: "{0}, by the tunnel", "{0}，通过隧道识别";
    READ_ONLY: "read only", "只读";
    BACK: "Back", "返回";
    YES: "yes", "是";
    NO: "no", "否";
    NONE: "none", "无";
    UNKNOWN: "unknown", "未知";
    NOTHING_FOUND: "nothing found", "没有找到";
    FAILED: "This did not work", "操作失败";

    // Login.
    USER: "User", "用户名";
    PASSWORD: "Password", "密码";
    PASSWORD_AGAIN: "Password, again", "再次输入密码";
    PASSWORD_RULE: "at least 12 characters", "至少 12 个字符";
    CODE: "One-time code", "一次性验证码";
    CODE_HINT: "six digits, or a recovery code; empty where none was set up", "六位数字或恢复码；未设置则留空";
    LOGIN_TITLE: "Log in to {0}", "登录 {0}";
    LOGIN_FAILED: "User, password or code is wrong.", "用户名、密码或验证码不正确。";
    LOGIN_BY: "Sign in with {0}", "使用 {0} 登录";
    LOGIN_NOT_BELIEVED: "The sign-in did not succeed. Start it again here.", "登录未成功。请在此重新开始。";
    LOGIN_NOT_THERE: "The provider cannot be reached now.", "目前无法连接到登录服务。";
    LOGIN_MAY_NOTHING: "You signed in there, and may nothing here: ask an admin.", "您已在登录服务登录，但在此没有任何权限：请联系管理员。";
    SIGNED_IN_TITLE: "Signed in", "已登录";
    GO_ON: "Go on", "继续";
    SIGNED_OUT: "Signed out", "已退出登录";
    SIGNED_OUT_HERE: "You are signed out here, and with {0} still signed in.", "您已在此退出，但在 {0} 仍处于登录状态。";
    SIGN_OUT_THERE: "Sign out there, too", "也在那里退出登录";
    PROVE_AGAIN: "Sign in again, and type your password there", "重新登录，并在那里输入密码";
    IN_BY_PROVIDER: "You sign in by the provider: your password is there.", "您通过登录服务登录：密码由其保管。";
    BY_PROVIDER: "by the provider", "通过登录服务";
    LOGIN_WAIT: "Too many attempts: try again in {0} s.", "尝试次数过多：请在 {0} 秒后重试。";
    FIRST_ADMIN: "First administrator", "首位管理员";
    FIRST_ADMIN_HINT: "This link works once. There is no default password.", "此链接只能使用一次。没有默认密码。";
    CREATE: "Create", "创建";

    // Overview.
    ONLINE_OF: "{0} of {1} peers online", "{1} 个对端中 {0} 个在线";
    PEERS_UNKNOWN: "who is online is not known", "在线情况未知";
    NO_PEERS: "no peer on this host", "本机没有对端";
    ALL_REACH: "every pair of places that was examined reaches", "已检查的每一对位置均可达";
    BLOCKED_OF: "{0} of {1} pairs of places blocked", "{1} 对位置中 {0} 对被阻断";
    AWAY_OF: ", {0} of them because a node takes no part", "，其中 {0} 对是因为节点未启用或已过期";
    NOTHING_EXAMINED: "there is no pair to examine", "没有可检查的位置对";
    ASSUMED: "By the file: hosts are taken to be as wgrelay sets them up.", "依据文件推算：假定各主机均按 wgrelay 的设置运行。";
    STATE: "State", "状态";
    STATE_UP: "up", "运行中";
    STATE_DOWN: "down", "未运行";
    STATE_DEGRADED: "degraded", "降级";
    STATE_UNKNOWN: "the agent does not answer: the state of this host is not known", "代理程序没有应答：本机状态未知";
    GOES_BACK: "Not confirmed: goes back in {0} s.", "尚未确认：{0} 秒后自动还原。";
    KEEP: "Keep this change", "保留此变更";
    PICTURE: "Network", "网络图";
    PROBLEMS: "Problems", "问题";
    DRIFT: "Drift", "偏差";
    DRIFT_HINT: "what differs on this host from what was applied", "本机与已应用状态的差异";
    BLOCKED_PAIRS: "Blocked pairs", "被阻断的位置对";
    ALL_BLOCKED: "all blocked pairs", "全部被阻断的位置对";
    UNLISTED: "{0} more pairs blocked ({1}), such as {2}", "另有 {0} 对被阻断（{1}），例如 {2}";

    // Nodes.
    NODE: "Node", "节点";
    NODES_COUNT: "{0} nodes", "{0} 个节点";
    NODES_FOUND: "{0} of {1} nodes", "{1} 个节点中匹配 {0} 个";
    SEARCH: "Search", "搜索";
    SEARCH_HINT: "name, address, site, group or public key", "名称、地址、站点、组或公钥";
    SHOW: "Show", "显示";
    ANY: "any", "不限";
    NAME: "Name", "名称";
    ROLE: "Role", "角色";
    RELAY: "relay", "中继";
    SPOKE: "spoke", "分支";
    PLATFORM: "Platform", "平台";
    ADDRESS: "Address", "地址";
    ADDRESS_HINT: "empty: the next free one", "留空：使用下一个空闲地址";
    SITES: "Sites", "站点";
    SITE: "Site", "站点";
    SITE_HINT: "a subnet behind it, such as 192.168.33.0/24@br-ext", "其后的子网，如 192.168.33.0/24@br-ext";
    SITES_HINT: "each as 192.168.1.0/24@eth1 alias=10.99.1.0/24 preference=2, commas between", "每个如 192.168.1.0/24@eth1 alias=10.99.1.0/24 preference=2，以逗号分隔";
    GROUPS: "Groups", "组";
    HEALTH: "Health", "健康";
    ONLINE: "online", "在线";
    UNCERTAIN: "uncertain", "不确定";
    DOWN: "down", "离线";
    IDLE: "idle", "空闲";
    NEVER: "never", "从未";
    DISABLED: "disabled", "已停用";
    EXPIRED: "expired", "已过期";
    THIS_HOST: "this host", "本机";
    HANDSHAKE: "Latest handshake", "最近握手";
    AGO: "{0} ago", "{0}前";
    RECEIVED: "Received", "接收";
    TRAFFIC: "Traffic", "流量";
    TRAFFIC_OFF: "No history is kept of this node (history = false).", "未记录此节点的历史（history = false）。";
    TRAFFIC_NONE: "Nothing is known yet: the agent of this host (`wgrelay run`) writes a line a minute.", "暂无数据：本机代理（`wgrelay run`）每分钟记录一次。";
    LAST_DAYS: "48 hours, by half an hour", "48 小时，每半小时";
    LAST_YEAR: "400 days, by four days", "400 天，每四天";
    CHART: "{0}: received {1}, sent {2}; at most {3} and {4} in one", "{0}：接收 {1}，发送 {2}；单格最多 {3} 和 {4}";
    BEGAN: "Began", "开始";
    LASTED: "Lasted", "持续";
    SENT: "Sent", "发送";
    PAGE_OF: "Page {0} of {1}", "第 {0} 页，共 {1} 页";
    PAGES: "Pages", "分页";
    PREVIOUS: "Previous", "上一页";
    NEXT: "Next", "下一页";
    SORTED_BY: "sort by {0}", "按{0}排序";
    ADD_NODE: "Add a node", "添加节点";

    // Enrolment.
    ENROLL_LINKS: "Links for new devices", "新设备链接";
    LINKS_WHAT: "A link is good once: the device that opens it makes its own private key, which never comes here.", "链接仅可使用一次：打开它的设备自行生成私钥，私钥不会传到这里。";
    LINKS_GOOD: "Links that were not used yet", "尚未使用的链接";
    LINK_ONCE: "The link for {0}, shown once:", "{0} 的链接，仅显示一次：";
    MAKE_LINK: "Make a link", "创建链接";
    HOURS: "Good for so many hours", "有效小时数";
    HOURS_HINT: "1 to 744", "1 至 744";
    ENROLL: "Enroll", "注册";
    ENROLL_TITLE: "Enroll this device as {0} in {1}", "将此设备注册为 {1} 中的 {0}";
    ENROLL_UNTIL: "This link is good once, until {0}. Looking at it spends nothing.", "此链接仅可使用一次，有效期至 {0}。查看不会消耗它。";
    ENROLL_HERE: "With a key made in this browser", "使用在此浏览器中生成的密钥";
    ENROLL_SCRIPT: "This needs script, which is off here.", "这需要脚本，而此处脚本已关闭。";
    ENROLL_INSECURE: "Browsers make keys only on pages that came by HTTPS or from this device itself; this one came by plain HTTP. Use one of the ways below.", "浏览器只在通过 HTTPS 或来自本机的页面上生成密钥；此页面通过普通 HTTP 打开。请使用下面的方式。";
    ENROLL_UNABLE: "This browser cannot make keys of X25519. Use a newer one, or one of the ways below.", "此浏览器无法生成 X25519 密钥。请使用较新的浏览器，或下面的方式。";
    ENROLL_MAKE: "Make the key and enroll", "生成密钥并注册";
    ENROLL_WORKING: "Enrolling…", "正在注册…";
    ENROLLED: "Enrolled, and taken in: the tunnel can come up.", "已注册并已生效：隧道可以建立。";
    ENROLLED_WAITS: "Enrolled. The relay takes this device in when its operator applies the network.", "已注册。管理员应用网络后，中继才会接纳此设备。";
    ENROLL_CODE: "The file and its code are made in this browser and shown this once; both hold the private key.", "文件及其二维码在此浏览器中生成，仅显示这一次；两者都包含私钥。";
    ENROLL_COMMAND: "By command, with the address of this page", "使用命令，附上此页面的地址";
    ENROLL_OWN: "With a key made elsewhere", "使用在别处生成的密钥";
    ENROLL_OWN_HINT: "the public half, as wg pubkey prints it", "公钥，即 wg pubkey 的输出";
    ENROLL_FILL_IN: "Put your own PrivateKey where the file says so. It is shown this once: it holds the preshared key.", "请在文件标注处填入您自己的 PrivateKey。文件仅显示这一次：其中包含预共享密钥。";

    // A node.
    PUBLIC_KEY: "Public key", "公钥";
    PUBLIC_KEY_HINT: "empty: a key pair is made here; else no private key is stored", "留空：在此生成密钥对；否则不保存私钥";
    ENDPOINT: "Endpoint", "端点";
    ENDPOINT_HINT: "HOST:PORT; a spoke behind NAT has none", "主机:端口；NAT 后的分支节点留空";
    ALLOWED_IPS: "AllowedIPs", "AllowedIPs";
    ROUTES: "Routes", "路由";
    ROUTES_HINT: "split, full, or prefixes", "split、full 或前缀列表";
    DNS: "DNS", "DNS";
    LIST_HINT: "separated by commas", "以逗号分隔";
    KEEPALIVE: "Keepalive", "保活间隔";
    EXPIRES: "Expires", "过期时间";
    EXPIRES_HINT: "UTC, such as 2027-01-31T00:00:00Z; empty: never", "UTC，如 2027-01-31T00:00:00Z；留空：永不过期";
    MTU: "MTU", "MTU";
    SESSION: "Session and traffic", "会话与流量";
    NO_SESSION: "This host has no session with it: what it does is not known here.", "本机与它没有会话：这里无法得知其情况。";
    REACHES_WHAT: "What it reaches", "它可到达";
    REACHED_BY: "Who reaches it", "可到达它的";
    REACHES: "reaches", "可达";
    BLOCKED: "blocked", "阻断";
    WHY_NOT: "why not", "原因";
    VERDICT: "Verdict", "结论";
    PORTS: "Ports", "端口";
    PORTS_OR_REASON: "Ports, or the reason", "端口或原因";
    ALL_PORTS: "all", "全部";
    CONFIGURATION: "Configuration", "配置文件";
    SHOW_FILE: "Show file and QR code", "显示文件和二维码";
    KEY_LEAVES: "The file holds a private key. Say who you are once more; the audit names who fetched it.", "文件包含私钥。请再次验证身份；审计会记录取用者。";
    IS_SECRET: "Whoever has this file is this node: it holds its private key.", "持有此文件者即为该节点：其中包含私钥。";
    QR_CODE: "QR code", "二维码";
    QR_LABEL: "QR code of the configuration of {0}", "{0} 的配置二维码";
    QR_NONE: "No QR code: {0}", "没有二维码：{0}";
    DOWNLOAD: "Download {0}", "下载 {0}";
    FILE_OF: "File of {0}", "{0} 的文件";
    EDIT: "Edit", "编辑";
    EDIT_NODE: "Edit {0}", "编辑 {0}";
    ENABLE: "Enable", "启用";
    DISABLE: "Disable", "停用";
    RENAME: "Rename", "重命名";
    NEW_NAME: "New name", "新名称";
    ROTATE: "New keys", "更换密钥";
    REMOVE: "Remove", "删除";
    EACH_IS_SHOWN: "Each change is shown with its plan and the pairs it opens or closes before anything happens.", "任何变更执行前都会先显示其计划以及将打通或切断的位置对。";

    // Devices of one's own.
    DEVICES: "My devices", "我的设备";
    DEVICES_OF: "{0} devices, of {1} that you may have", "已有 {0} 台设备，最多 {1} 台";
    DEVICES_NONE: "You have no device yet.", "您还没有设备。";
    DEVICES_WAITING: "Links that no device used yet", "尚未使用的链接";
    ADD_DEVICE: "Add a device", "添加设备";
    DEVICE_NAME_HINT: "small letters, digits and -, such as phone; your own name is put before it", "小写字母、数字和 -，如 phone；前面会加上您的用户名";
    DEVICE_LINK: "Make a link: the key is made on the device", "创建链接：密钥在设备上生成";
    DEVICE_HERE: "Make its key here, and take out its file", "在此生成密钥，并取出配置文件";
    MOST_DEVICES: "Devices, at most", "设备数上限";
    DEVICES_COLUMN: "Devices", "设备";
    SET_USER: "Change a user", "更改用户";
    GIVE_DEVICE: "Give a node to a user", "将节点交给用户";
    GIVE_HINT: "a user; empty: nobody", "用户名；留空：不属于任何人";

    // Review.
    REVIEW: "Review", "审阅";
    REVIEW_TITLE: "Before it happens: {0}", "执行之前：{0}";
    NOTHING_DONE: "Nothing has been changed yet.", "尚未做任何变更。";
    PAIRS_OPENED: "Pairs it opens: {0}", "将打通的位置对：{0}";
    PAIRS_CLOSED: "Pairs it closes: {0}", "将切断的位置对：{0}";
    PAIRS_SAME: "No pair of places opens or closes.", "没有位置对被打通或切断。";
    PAIRS_MORE: "and more pairs, opened or closed: {0}", "另有被打通或切断的位置对：{0}";
    FROM: "From", "从";
    TO: "To", "到";
    BEFORE: "Before", "之前";
    AFTER: "After", "之后";
    PLAN: "Plan for this host", "本机计划";
    PLAN_EMPTY: "Nothing changes on this host.", "本机无任何改动。";
    PLAN_UNKNOWN: "What changes on this host is not known: {0}", "本机将有何改动未知：{0}";
    PLAN_COUNT: "{0} changes on this host", "本机将有 {0} 处改动";
    APPLY_NOW: "Apply", "应用";
    WHAT: "What", "对象";
    LINES: "Lines of network.toml", "network.toml 的差异";
    LINES_NONE: "network.toml stays as it is.", "network.toml 保持不变。";
    KEY_OF: "{0} key of {1} {2}", "{1} 的{0}密钥：{2}";
    NOT_VALID: "This cannot be: the network would not be valid.", "不可行：网络将不再有效。";
    SAVE: "Save only", "仅保存";
    APPLY: "Save and apply", "保存并应用";
    CONFIRM_WITHIN: "Go back by itself unless confirmed within (seconds, 10 to 600)", "若未在此秒数内确认则自动还原（10 至 600）";

    // Matrix and trace.
    ALL_PAIRS: "all", "全部";
    BLOCKED_ONLY: "blocked only", "仅被阻断";
    CLASS_OF: "{0} and {1} alike", "{0} 等 {1} 个同样的位置";
    PICK_PAIR: "Choose a pair to see its path.", "选择一对以查看其路径。";
    PORT: "Port", "端口";
    PORT_HINT: "such as tcp/22; empty: any", "如 tcp/22；留空：不限";
    DOES_REACH: "{0} reaches {1}", "{0} 可到达 {1}";
    DOES_NOT_REACH: "{0} does not reach {1}", "{0} 无法到达 {1}";
    IS_UNCERTAIN: "{0} to {1}: uncertain", "{0} 到 {1}：不确定";
    MAY_DECIDE: "What may decide otherwise", "可能改变结论的因素";
    REASON: "Reason", "原因";
    AT: "at {0}", "位于 {0}";
    FIX: "Fix", "修复";
    MENDS: "Mend it", "一键修复";
    MEND_CHECKED: "tried on the file: the pair reaches then", "已在文件上试算：之后该对可达";
    FORWARD_PATH: "There", "去程";
    REPLY_PATH: "Back", "回程";
    NO_REPLY: "There is no answer: the packet does not get there.", "没有应答：数据包未到达。";
    AT_NODE: "At", "位置";
    STEP: "Step", "步骤";
    BY: "By", "依据";
    PACKET: "Packet", "数据包";
    NOTES: "Notes", "备注";
    REVERSE: "The other way round", "反方向";
    MEND_ALLOW: "allow {0} to {1}", "允许 {0} 到 {1}";
    MEND_ALLOW_PORT: "allow {0} to {1}, {2}", "允许 {0} 到 {1}，{2}";
    MEND_ENABLE: "enable {0}", "启用 {0}";
    MEND_EXPIRES: "let {0} expire never", "让 {0} 永不过期";
    MEND_ROUTES: "send {1} into the tunnel of {0}", "让 {0} 将 {1} 送入隧道";

    // Rules.
    ALLOW: "Allow", "允许";
    ALLOW_ALL: "No rule: everyone may talk to everyone.", "没有规则：任意两点均可通信。";
    ALLOW_REST: "What no rule allows is refused.", "未被规则允许的一律拒绝。";
    EXPECT: "Expect", "承诺";
    EXPECT_NONE: "Nothing is promised.", "没有承诺。";
    FORWARD: "Forward", "端口转发";
    FORWARD_NONE: "No port leads on.", "没有端口转发。";
    KEPT: "kept", "成立";
    BROKEN: "broken", "被破坏";
    PROMISE: "Promise", "承诺内容";
    ADD_RULE: "Add a rule", "添加规则";
    ADD_FORWARD: "Add a port that leads on", "添加端口转发";
    FORWARD_TO_HINT: "a node or an address, with a port or without: phone:8080", "节点或地址，可带端口：phone:8080";
    FORWARD_FROM_HINT: "prefixes and groups; empty: everybody", "前缀和组；留空：任何人";
    FORWARD_PORT_HINT: "tcp/443, udp/53 or a range", "tcp/443、udp/53 或端口范围";
    ON_RELAY: "On the relay", "所在中继";
    ON_RELAY_HINT: "empty where there is one", "仅有一个中继时留空";
    SOURCE: "Source that the target sees", "目标看到的来源";
    ADD_PROMISE: "Add a promise", "添加承诺";
    PLACE_HINT: "a node, @group, subnet, address, * or internet; separated by commas", "节点、@组、子网、地址、* 或 internet；以逗号分隔";
    PORTS_HINT: "such as tcp/22, udp/53, icmp; empty: all", "如 tcp/22、udp/53、icmp；留空：全部";

    // File.
    FILE_HINT: "Private keys are not in it. Saving makes a revision, after a look at what it changes.", "其中不含私钥。保存前会先显示变更内容，保存后生成修订版本。";
    FILE_FAULTS: "{0} faults: nothing was saved", "{0} 处错误：未保存";
    LINE: "line {0}", "第 {0} 行";

    // Changes.
    REVISION: "Revision", "修订";
    WHEN: "When", "时间";
    WHO: "Who", "操作者";
    WHY: "Why", "说明";
    CURRENT: "current", "当前";
    NO_REVISION: "No revision is kept yet: the first change makes one.", "尚无修订：首次变更后生成。";
    EDITED_BY_HAND: "The file was edited by hand since.", "此后文件被手工修改过。";
    REVERT: "Go back to revision {0}", "还原到修订 {0}";
    DIFFERENCE: "From revision {0} to now", "从修订 {0} 到现在";
    SAME_AS_NOW: "It is what the network is now.", "与当前网络一致。";

    // Doctor.
    OK: "ok", "正常";
    WARNING: "warning", "警告";
    ERROR: "error", "错误";

    // Notifications.
    TOLD_COUNT: "Told when something happens: {0}", "有事发生时通知 {0} 处";
    SIGNS_ONCE: "What signs the messages to {0}, shown once:", "用于签署发往 {0} 的消息，仅显示一次：";
    KIND: "Kind", "类型";
    WEBHOOK: "Webhook", "网络钩子（Webhook）";
    NTFY: "ntfy", "ntfy";
    MAIL: "Mail", "邮件";
    SENT_TO: "To", "发往";
    EVENTS: "Events", "事件";
    LAST_MESSAGE: "Last message", "最近一条消息";
    ARRIVED: "arrived", "已送达";
    TEST_OF: "Test {0}", "测试 {0}";
    ADD_TARGET: "Add", "添加";
    TARGET_URL: "Address", "地址";
    WEBHOOK_HINT: "https://…; signed as Standard Webhooks has it. What follows the host is not shown again.", "https://…；按 Standard Webhooks 签名。主机之后的部分不会再次显示。";
    NTFY_HINT: "https://ntfy.sh/TOPIC; the topic is not shown again", "https://ntfy.sh/主题；主题不会再次显示";
    NTFY_TOKEN: "Access token", "访问令牌";
    SECRET_HINT: "empty where none is needed; not shown again", "不需要则留空；不会再次显示";
    MAIL_SERVER: "Server", "服务器";
    MAIL_HINT: "smtps://mail.example.com, or smtp://mail.example.com for STARTTLS", "smtps://mail.example.com，或使用 STARTTLS 的 smtp://mail.example.com";
    MAIL_SENDER: "From", "发件人";
    MAIL_RECIPIENT: "To", "收件人";
    MAIL_ACCOUNT: "Account", "账户";
    EVENT_ONLINE: "node online", "节点上线";
    EVENT_OFFLINE: "node offline", "节点离线";
    EVENT_DRIFT: "drift", "偏差";
    EVENT_PROMISE: "broken promise", "承诺被破坏";
    EVENT_LOGIN: "failed login", "登录失败";

    // Users, tokens, audit.
    USERS: "Users", "用户";
    TOKENS: "API tokens", "API 令牌";
    SESSIONS: "Sessions", "会话";
    ADD_USER: "Add a user", "添加用户";
    ADD_TOKEN: "Make a token", "创建令牌";
    TOKEN_ONCE: "This token is shown once:", "此令牌仅显示一次：";
    SCOPE: "Scope", "权限范围";
    SECOND_FACTOR: "Second factor", "第二因素";
    LAST_SEEN: "Last seen", "最近使用";
    FROM_ADDRESS: "From", "来源地址";
    REVOKE: "Revoke", "吊销";
    REVOKE_OF: "Revoke {0}", "吊销 {0}";
    REMOVE_OF: "Remove {0}", "删除 {0}";
    ADMIN: "administrator", "管理员";
    OWNER: "owner of devices", "设备拥有者";
    OPERATOR: "operator", "操作员";
    VIEWER: "viewer", "查看者";
    THIS_SESSION: "this one", "当前会话";
    ACTION: "Action", "操作";
    RESULT: "Result", "结果";
    DONE: "done", "已完成";
    REFUSED: "refused", "已拒绝";
    NO_ENTRY: "Nothing was recorded yet.", "尚无记录。";
    ACCOUNT: "Your account", "我的账户";
    CODES_ON: "One-time codes are on.", "一次性验证码已启用。";
    CODES_OFF: "One-time codes are off: the password alone gets in.", "一次性验证码未启用：仅凭密码即可登录。";
    CODES_WHAT: "An app on a phone makes a code every 30 seconds; signing in then takes the password and a code.", "手机应用每 30 秒生成一个验证码；之后登录需要密码和验证码。";
    CODES_BEGIN: "Set them up", "开始设置";
    CODES_SCAN: "Scan this with the app", "用应用扫描";
    CODES_QR: "QR code for the app", "供应用扫描的二维码";
    CODES_TYPE: "Or type it there:", "或手动输入：";
    CODE_FIRST: "The code that the app shows now", "应用当前显示的验证码";
    CODE_WRONG: "This is not the code of now: is the clock of the phone right?", "验证码不正确：手机时间是否准确？";
    CODES_TURN_ON: "Turn them on", "启用";
    CODES_TURN_OFF: "Turn them off", "停用";
    RECOVERY: "Recovery codes", "恢复码";
    RECOVERY_ONCE: "For when the app is lost: each gets in once. They are shown this once.", "应用丢失时使用：每个仅可使用一次，且只显示这一次。";
    RECOVERY_ANEW: "Make new recovery codes", "重新生成恢复码";
    NEW_PASSWORD: "New password", "新密码";
    CHANGE_PASSWORD: "Change the password", "修改密码";
    YOUR_PASSWORD: "Your password", "您的密码";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> std::collections::BTreeSet<String> {
        text.split('{').skip(1).filter_map(|part| part.split_once('}')).map(|(n, _)| n.into()).collect()
    }

    #[test]
    fn every_text_is_there_in_both_languages() {
        let foreign = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c);
        for (name, text) in ALL {
            assert!(!text.en.trim().is_empty() && !text.zh.trim().is_empty(), "{name}");
            assert_eq!(places(text.en), places(text.zh), "{name}: the places differ");
            assert!(!text.en.chars().any(foreign), "{name}: English has Chinese in it");
            let is_name = ["ALLOWED_IPS", "DNS", "MTU", "NTFY"].contains(name);
            assert!(is_name || text.zh.chars().any(foreign), "{name}: not translated");
        }
    }

    #[test]
    fn names_are_used_once() {
        let names: std::collections::BTreeSet<&str> = ALL.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn places_are_filled() {
        assert_eq!(Language::English.fill(BLOCKED_OF, &[&2, &6]), "2 of 6 pairs of places blocked");
        assert_eq!(Language::Chinese.fill(BLOCKED_OF, &[&2, &6]), "6 对位置中 2 对被阻断");
        // What is filled in is not read again.
        assert_eq!(Language::English.fill(AT, &[&"{0}{1}"]), "at {0}{1}");
    }

    #[test]
    fn the_browser_says_which_language() {
        for (accept, lang) in [
            ("", Language::English),
            ("zh-CN,zh;q=0.9,en;q=0.8", Language::Chinese),
            ("en-GB,en;q=0.9,zh;q=0.8", Language::English),
            ("de, fr;q=0.9, zh;q=0.2", Language::Chinese),
            ("zh;q=nan, en;q=0.1", Language::English),
        ] {
            assert_eq!(Language::preferred(accept), lang, "{accept}");
        }
    }
}
