from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NONE: _ClassVar[ErrorCode]
    INVALID: _ClassVar[ErrorCode]
    NOT_LOGGED_IN: _ClassVar[ErrorCode]
    WRONG_PASSWORD: _ClassVar[ErrorCode]
    NAME_TAKEN: _ClassVar[ErrorCode]
    NOT_FOUND: _ClassVar[ErrorCode]
    FORBIDDEN: _ClassVar[ErrorCode]
    BUSY: _ClassVar[ErrorCode]
    UNKNOWN: _ClassVar[ErrorCode]
    OUT_OF_ORDER: _ClassVar[ErrorCode]
    CLIENT_FORGOTTEN: _ClassVar[ErrorCode]
    TOO_LONG: _ClassVar[ErrorCode]
NONE: ErrorCode
INVALID: ErrorCode
NOT_LOGGED_IN: ErrorCode
WRONG_PASSWORD: ErrorCode
NAME_TAKEN: ErrorCode
NOT_FOUND: ErrorCode
FORBIDDEN: ErrorCode
BUSY: ErrorCode
UNKNOWN: ErrorCode
OUT_OF_ORDER: ErrorCode
CLIENT_FORGOTTEN: ErrorCode
TOO_LONG: ErrorCode

class Route(_message.Message):
    __slots__ = ("id", "path", "networkDiscoveryPacket", "user", "message", "group", "messagesRequest", "messagesResponse", "response", "header", "login", "welcome", "acknowledged", "history", "historyEnd", "who", "presence", "conversationsRequest", "conversations", "posted", "readBy", "arrived")
    class Path(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PING: _ClassVar[Route.Path]
        NETWORK_DISCOVERY: _ClassVar[Route.Path]
        USER: _ClassVar[Route.Path]
        MESSAGE: _ClassVar[Route.Path]
        GROUP: _ClassVar[Route.Path]
        MESSAGES_REQUEST: _ClassVar[Route.Path]
        MESSAGES_RESPONSE: _ClassVar[Route.Path]
        HEADER: _ClassVar[Route.Path]
        RESPONSE: _ClassVar[Route.Path]
    PING: Route.Path
    NETWORK_DISCOVERY: Route.Path
    USER: Route.Path
    MESSAGE: Route.Path
    GROUP: Route.Path
    MESSAGES_REQUEST: Route.Path
    MESSAGES_RESPONSE: Route.Path
    HEADER: Route.Path
    RESPONSE: Route.Path
    ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    NETWORKDISCOVERYPACKET_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    MESSAGESREQUEST_FIELD_NUMBER: _ClassVar[int]
    MESSAGESRESPONSE_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    LOGIN_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    HISTORYEND_FIELD_NUMBER: _ClassVar[int]
    WHO_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_FIELD_NUMBER: _ClassVar[int]
    CONVERSATIONSREQUEST_FIELD_NUMBER: _ClassVar[int]
    CONVERSATIONS_FIELD_NUMBER: _ClassVar[int]
    POSTED_FIELD_NUMBER: _ClassVar[int]
    READBY_FIELD_NUMBER: _ClassVar[int]
    ARRIVED_FIELD_NUMBER: _ClassVar[int]
    id: int
    path: Route.Path
    networkDiscoveryPacket: NetworkDiscoveryPacket
    user: User
    message: Message
    group: Group
    messagesRequest: MessagesRequest
    messagesResponse: MessagesResponse
    response: Response
    header: Header
    login: Login
    welcome: Welcome
    acknowledged: _containers.RepeatedCompositeFieldContainer[Position]
    history: History
    historyEnd: HistoryEnd
    who: WhoRequest
    presence: Presence
    conversationsRequest: ConversationsRequest
    conversations: Conversations
    posted: Posted
    readBy: _containers.RepeatedCompositeFieldContainer[ReadBy]
    arrived: _containers.RepeatedCompositeFieldContainer[Position]
    def __init__(self, id: _Optional[int] = ..., path: _Optional[_Union[Route.Path, str]] = ..., networkDiscoveryPacket: _Optional[_Union[NetworkDiscoveryPacket, _Mapping]] = ..., user: _Optional[_Union[User, _Mapping]] = ..., message: _Optional[_Union[Message, _Mapping]] = ..., group: _Optional[_Union[Group, _Mapping]] = ..., messagesRequest: _Optional[_Union[MessagesRequest, _Mapping]] = ..., messagesResponse: _Optional[_Union[MessagesResponse, _Mapping]] = ..., response: _Optional[_Union[Response, _Mapping]] = ..., header: _Optional[_Union[Header, _Mapping]] = ..., login: _Optional[_Union[Login, _Mapping]] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ..., acknowledged: _Optional[_Iterable[_Union[Position, _Mapping]]] = ..., history: _Optional[_Union[History, _Mapping]] = ..., historyEnd: _Optional[_Union[HistoryEnd, _Mapping]] = ..., who: _Optional[_Union[WhoRequest, _Mapping]] = ..., presence: _Optional[_Union[Presence, _Mapping]] = ..., conversationsRequest: _Optional[_Union[ConversationsRequest, _Mapping]] = ..., conversations: _Optional[_Union[Conversations, _Mapping]] = ..., posted: _Optional[_Union[Posted, _Mapping]] = ..., readBy: _Optional[_Iterable[_Union[ReadBy, _Mapping]]] = ..., arrived: _Optional[_Iterable[_Union[Position, _Mapping]]] = ...) -> None: ...

class NetworkDiscoveryPacket(_message.Message):
    __slots__ = ("mode", "sender", "groupTag", "nodeId", "nodeAddress", "nodePort", "secret", "leastLoaded")
    class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REQUEST: _ClassVar[NetworkDiscoveryPacket.Mode]
        RESPONSE: _ClassVar[NetworkDiscoveryPacket.Mode]
        REMOVE_NODE: _ClassVar[NetworkDiscoveryPacket.Mode]
    REQUEST: NetworkDiscoveryPacket.Mode
    RESPONSE: NetworkDiscoveryPacket.Mode
    REMOVE_NODE: NetworkDiscoveryPacket.Mode
    class Sender(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        EXTERNAL_SERVER_NODE: _ClassVar[NetworkDiscoveryPacket.Sender]
        INTERNAL_SERVER_NODE: _ClassVar[NetworkDiscoveryPacket.Sender]
        END_USER_CLIENT: _ClassVar[NetworkDiscoveryPacket.Sender]
    EXTERNAL_SERVER_NODE: NetworkDiscoveryPacket.Sender
    INTERNAL_SERVER_NODE: NetworkDiscoveryPacket.Sender
    END_USER_CLIENT: NetworkDiscoveryPacket.Sender
    MODE_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    GROUPTAG_FIELD_NUMBER: _ClassVar[int]
    NODEID_FIELD_NUMBER: _ClassVar[int]
    NODEADDRESS_FIELD_NUMBER: _ClassVar[int]
    NODEPORT_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    LEASTLOADED_FIELD_NUMBER: _ClassVar[int]
    mode: NetworkDiscoveryPacket.Mode
    sender: NetworkDiscoveryPacket.Sender
    groupTag: str
    nodeId: str
    nodeAddress: str
    nodePort: int
    secret: str
    leastLoaded: bool
    def __init__(self, mode: _Optional[_Union[NetworkDiscoveryPacket.Mode, str]] = ..., sender: _Optional[_Union[NetworkDiscoveryPacket.Sender, str]] = ..., groupTag: _Optional[str] = ..., nodeId: _Optional[str] = ..., nodeAddress: _Optional[str] = ..., nodePort: _Optional[int] = ..., secret: _Optional[str] = ..., leastLoaded: bool = ...) -> None: ...

class User(_message.Message):
    __slots__ = ("uname", "email", "password", "recentActiveTime", "action")
    class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REGISTER: _ClassVar[User.Action]
        ACCESS: _ClassVar[User.Action]
        DELETE: _ClassVar[User.Action]
    REGISTER: User.Action
    ACCESS: User.Action
    DELETE: User.Action
    UNAME_FIELD_NUMBER: _ClassVar[int]
    EMAIL_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    RECENTACTIVETIME_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    uname: str
    email: str
    password: str
    recentActiveTime: str
    action: User.Action
    def __init__(self, uname: _Optional[str] = ..., email: _Optional[str] = ..., password: _Optional[str] = ..., recentActiveTime: _Optional[str] = ..., action: _Optional[_Union[User.Action, str]] = ...) -> None: ...

class Group(_message.Message):
    __slots__ = ("gname", "gid", "action", "username")
    class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CREATE: _ClassVar[Group.Action]
        DELETE: _ClassVar[Group.Action]
        ADDUSER: _ClassVar[Group.Action]
        REMOVEUSER: _ClassVar[Group.Action]
    CREATE: Group.Action
    DELETE: Group.Action
    ADDUSER: Group.Action
    REMOVEUSER: Group.Action
    GNAME_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    gname: str
    gid: int
    action: Group.Action
    username: str
    def __init__(self, gname: _Optional[str] = ..., gid: _Optional[int] = ..., action: _Optional[_Union[Group.Action, str]] = ..., username: _Optional[str] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("type", "senderId", "payload", "receiverId", "timestamp", "status", "action", "number", "position", "timeMs", "cluster", "origin")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SINGLE: _ClassVar[Message.Type]
        GROUP: _ClassVar[Message.Type]
    SINGLE: Message.Type
    GROUP: Message.Type
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ACTIVE: _ClassVar[Message.Status]
        STALE: _ClassVar[Message.Status]
    ACTIVE: Message.Status
    STALE: Message.Status
    class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        POST: _ClassVar[Message.Action]
        UPDATE: _ClassVar[Message.Action]
        DELETE: _ClassVar[Message.Action]
    POST: Message.Action
    UPDATE: Message.Action
    DELETE: Message.Action
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SENDERID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    RECEIVERID_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TIMEMS_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    type: Message.Type
    senderId: str
    payload: str
    receiverId: str
    timestamp: str
    status: Message.Status
    action: Message.Action
    number: int
    position: Position
    timeMs: int
    cluster: str
    origin: Origin
    def __init__(self, type: _Optional[_Union[Message.Type, str]] = ..., senderId: _Optional[str] = ..., payload: _Optional[str] = ..., receiverId: _Optional[str] = ..., timestamp: _Optional[str] = ..., status: _Optional[_Union[Message.Status, str]] = ..., action: _Optional[_Union[Message.Action, str]] = ..., number: _Optional[int] = ..., position: _Optional[_Union[Position, _Mapping]] = ..., timeMs: _Optional[int] = ..., cluster: _Optional[str] = ..., origin: _Optional[_Union[Origin, _Mapping]] = ...) -> None: ...

class Origin(_message.Message):
    __slots__ = ("cluster", "position")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    cluster: bytes
    position: Position
    def __init__(self, cluster: _Optional[bytes] = ..., position: _Optional[_Union[Position, _Mapping]] = ...) -> None: ...

class MessagesRequest(_message.Message):
    __slots__ = ("type", "id")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        USER: _ClassVar[MessagesRequest.Type]
        GROUP: _ClassVar[MessagesRequest.Type]
    USER: MessagesRequest.Type
    GROUP: MessagesRequest.Type
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    type: MessagesRequest.Type
    id: str
    def __init__(self, type: _Optional[_Union[MessagesRequest.Type, str]] = ..., id: _Optional[str] = ...) -> None: ...

class MessagesResponse(_message.Message):
    __slots__ = ("type", "id", "messages")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    type: MessagesRequest.Type
    id: str
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    def __init__(self, type: _Optional[_Union[MessagesRequest.Type, str]] = ..., id: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ...) -> None: ...

class Header(_message.Message):
    __slots__ = ("type",)
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        INTERNAL: _ClassVar[Header.Type]
        INTER_CLUSTER: _ClassVar[Header.Type]
        CLIENT: _ClassVar[Header.Type]
    INTERNAL: Header.Type
    INTER_CLUSTER: Header.Type
    CLIENT: Header.Type
    TYPE_FIELD_NUMBER: _ClassVar[int]
    type: Header.Type
    def __init__(self, type: _Optional[_Union[Header.Type, str]] = ...) -> None: ...

class Response(_message.Message):
    __slots__ = ("success", "message", "errorCode")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ERRORCODE_FIELD_NUMBER: _ClassVar[int]
    success: bool
    message: str
    errorCode: int
    def __init__(self, success: bool = ..., message: _Optional[str] = ..., errorCode: _Optional[int] = ...) -> None: ...

class Position(_message.Message):
    __slots__ = ("conversation", "sequence")
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    conversation: int
    sequence: int
    def __init__(self, conversation: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class Login(_message.Message):
    __slots__ = ("client", "token", "have", "echo", "cluster")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    HAVE_FIELD_NUMBER: _ClassVar[int]
    ECHO_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    client: bytes
    token: bytes
    have: _containers.RepeatedCompositeFieldContainer[Position]
    echo: bool
    cluster: bytes
    def __init__(self, client: _Optional[bytes] = ..., token: _Optional[bytes] = ..., have: _Optional[_Iterable[_Union[Position, _Mapping]]] = ..., echo: bool = ..., cluster: _Optional[bytes] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("token", "servers", "expected", "payloadBytesMax", "inFlightMax", "groupTag", "cluster")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    PAYLOADBYTESMAX_FIELD_NUMBER: _ClassVar[int]
    INFLIGHTMAX_FIELD_NUMBER: _ClassVar[int]
    GROUPTAG_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    token: bytes
    servers: _containers.RepeatedScalarFieldContainer[str]
    expected: int
    payloadBytesMax: int
    inFlightMax: int
    groupTag: str
    cluster: bytes
    def __init__(self, token: _Optional[bytes] = ..., servers: _Optional[_Iterable[str]] = ..., expected: _Optional[int] = ..., payloadBytesMax: _Optional[int] = ..., inFlightMax: _Optional[int] = ..., groupTag: _Optional[str] = ..., cluster: _Optional[bytes] = ...) -> None: ...

class Posted(_message.Message):
    __slots__ = ("position", "timeMs", "expected")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TIMEMS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    position: Position
    timeMs: int
    expected: int
    def __init__(self, position: _Optional[_Union[Position, _Mapping]] = ..., timeMs: _Optional[int] = ..., expected: _Optional[int] = ...) -> None: ...

class History(_message.Message):
    __slots__ = ("before", "sinceMs", "untilMs", "limit")
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    SINCEMS_FIELD_NUMBER: _ClassVar[int]
    UNTILMS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    before: int
    sinceMs: int
    untilMs: int
    limit: int
    def __init__(self, before: _Optional[int] = ..., sinceMs: _Optional[int] = ..., untilMs: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class HistoryEnd(_message.Message):
    __slots__ = ("more", "before")
    MORE_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    more: bool
    before: int
    def __init__(self, more: bool = ..., before: _Optional[int] = ...) -> None: ...

class WhoRequest(_message.Message):
    __slots__ = ("users",)
    USERS_FIELD_NUMBER: _ClassVar[int]
    users: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, users: _Optional[_Iterable[str]] = ...) -> None: ...

class Presence(_message.Message):
    __slots__ = ("entries",)
    class Entry(_message.Message):
        __slots__ = ("user", "online")
        USER_FIELD_NUMBER: _ClassVar[int]
        ONLINE_FIELD_NUMBER: _ClassVar[int]
        user: str
        online: bool
        def __init__(self, user: _Optional[str] = ..., online: bool = ...) -> None: ...
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Presence.Entry]
    def __init__(self, entries: _Optional[_Iterable[_Union[Presence.Entry, _Mapping]]] = ...) -> None: ...

class ConversationsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Conversations(_message.Message):
    __slots__ = ("entries",)
    class Entry(_message.Message):
        __slots__ = ("conversation", "name", "type", "members", "last", "read", "cluster")
        CONVERSATION_FIELD_NUMBER: _ClassVar[int]
        NAME_FIELD_NUMBER: _ClassVar[int]
        TYPE_FIELD_NUMBER: _ClassVar[int]
        MEMBERS_FIELD_NUMBER: _ClassVar[int]
        LAST_FIELD_NUMBER: _ClassVar[int]
        READ_FIELD_NUMBER: _ClassVar[int]
        CLUSTER_FIELD_NUMBER: _ClassVar[int]
        conversation: int
        name: str
        type: Message.Type
        members: _containers.RepeatedScalarFieldContainer[str]
        last: int
        read: int
        cluster: str
        def __init__(self, conversation: _Optional[int] = ..., name: _Optional[str] = ..., type: _Optional[_Union[Message.Type, str]] = ..., members: _Optional[_Iterable[str]] = ..., last: _Optional[int] = ..., read: _Optional[int] = ..., cluster: _Optional[str] = ...) -> None: ...
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Conversations.Entry]
    def __init__(self, entries: _Optional[_Iterable[_Union[Conversations.Entry, _Mapping]]] = ...) -> None: ...

class ReadBy(_message.Message):
    __slots__ = ("user", "position")
    USER_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    user: str
    position: Position
    def __init__(self, user: _Optional[str] = ..., position: _Optional[_Union[Position, _Mapping]] = ...) -> None: ...
